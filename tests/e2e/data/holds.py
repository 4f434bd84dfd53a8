"""Holds a connection to a port, speaks on it slowly, and says how and when it ended. Words: address, seconds."""

import errno
import json
import socket
import sys
import time

address, seconds = sys.argv[1], float(sys.argv[2])
held = socket.create_connection((address, 6443), 5)
held.send(b"\x16\x03\x01\x40\x00")  # a record of TLS, of which the rest comes byte by byte
end, said = time.monotonic() + seconds, None
while time.monotonic() < end and said is None:
    time.sleep(0.25)
    try:
        held.send(b"\x00")
    except OSError as error:
        said = errno.errorcode.get(error.errno or 0, str(error))
json.dump({"ended": said, "at": time.time()}, sys.stdout)
