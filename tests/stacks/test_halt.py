"""A run of Ansible outside of the main thread: it takes no signals, and ends when it is told to."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

from tests.stacks.engine import site

from gcloud_pk.nodes.outcome import Run
from gcloud_pk.nodes.run import Order, Played, command, play

SLOW = """\
- hosts: all
  gather_facts: false
  become: false
  tasks:
    - name: Sleep
      ansible.builtin.command: sleep 300
      delegate_to: localhost
      vars: {ansible_connection: local, ansible_python_interpreter: "{{ ansible_playbook_python }}"}
"""


def test_a_run_in_a_thread_ends_soon_after_it_is_halted(tmp_path: Path) -> None:
    playbook = tmp_path / "slow.yml"
    playbook.write_text(SLOW)
    found = site()
    order = Order(found, found.spec.hosts[:1], playbook=playbook)
    halt, sleeping = threading.Event(), threading.Event()
    results: list[Played] = []
    before = signal.getsignal(signal.SIGINT)

    def tell(run: Run, _: object) -> None:
        if run.current:
            sleeping.set()

    thread = threading.Thread(target=lambda: results.append(play(order, tell, halt=halt)))
    thread.start()
    assert sleeping.wait(120)
    time.sleep(1)
    began = time.monotonic()
    halt.set()
    thread.join(120)

    assert not thread.is_alive()
    assert time.monotonic() - began < 120, "the command would have slept for 300 s"
    assert results[0].interrupted
    assert results[0].run.hosts["c1"].problem
    assert signal.getsignal(signal.SIGINT) is before


def test_hosts_beside_are_in_the_inventory_and_out_of_the_run() -> None:
    found = site()
    alone = command(Order(found, found.spec.hosts), Path("inventory.yml"))
    beside = command(Order(found, found.spec.hosts[:2], beside=found.spec.hosts[2:]), Path("inventory.yml"))

    assert "--limit" not in alone
    assert beside[beside.index("--limit") + 1] == "c1,c2"
