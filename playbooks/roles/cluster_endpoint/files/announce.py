#!/usr/bin/python3 -I
"""Tells a network that this node carries an address now: `announce INTERFACE ADDRESS NEIGHBOUR…` (IPv4, as root).

keepalived's own announcements are gratuitous ARP (sender and target are one address), which neighbours that are
hardened drop (`net.ipv4.conf.all.drop_gratuitous_arp`): they would go on sending to the node that is gone for half a
minute. An ordinary request *from* the address for somebody else's is believed: who is asked takes the sender into his
table, and so does who hears the broadcast and knows the address already (RFC 826, "Packet Reception").
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import sys
import time

_ARP = 0x0806
_BROADCAST = b"\xff" * 6
PAUSES = (0.0, 0.3, 1.5)
"""Seconds before each round: frames get lost, and the kernel takes what it just learnt for right for a second."""


def request(own: bytes, sender: str, target: str) -> bytes:
    """Return an Ethernet frame: the ARP request for `target` of who has MAC `own` and address `sender` (RFC 826)."""
    kind = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
    addresses = own + ipaddress.IPv4Address(sender).packed + bytes(6) + ipaddress.IPv4Address(target).packed
    return _BROADCAST + own + struct.pack("!H", _ARP) + kind + addresses


def main(words: list[str]) -> None:
    """Ask each neighbour, some times."""
    interface, sender, *neighbours = words
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ARP)) as link:
        link.bind((interface, 0))
        own: bytes = link.getsockname()[4]
        for pause in PAUSES:
            time.sleep(pause)
            for neighbour in neighbours:
                link.send(request(own, sender, neighbour))


if __name__ == "__main__":
    main(sys.argv[1:])
