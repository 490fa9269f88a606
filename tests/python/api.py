# SPDX-License-Identifier: Apache-2.0
"""api.py -- uses all of the package once or twice, for test_memory.py to watch."""
import contextlib
import os
import pickle
import socket
import threading
import time

import coopdl


def ended(body, scope):
    try:
        with scope:
            body()
    except coopdl.DeadlineExceeded as error:
        assert error.scope is scope and scope.expired()
        pickle.loads(pickle.dumps(error))
    else:
        raise AssertionError(body)


def spin():
    while True:
        pass


def wait():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.recv(1)


def swallow():
    for _ in range(3):
        with contextlib.suppress(BaseException):
            time.sleep(60)
    spin()


def clean_up():
    """For longer than the grace."""
    worker = threading.Thread(target=time.sleep, args=(60,), daemon=True)
    worker.start()
    try:
        spin()
    finally:
        worker.join()


def check():
    while True:
        coopdl.check()


def shielded():
    with coopdl.shield():
        time.sleep(0.05)
    spin()


@coopdl.timeout(0.02)
def decorated(*_, **__):
    spin()


def use():
    for body in spin, wait, swallow, check, shielded:
        ended(body, coopdl.timeout(0.02))
        ended(body, coopdl.timeout_at(time.monotonic() + 0.02))
    ended(clean_up, coopdl.timeout(0.02, grace=0.02, inherit=False))
    with contextlib.suppress(coopdl.DeadlineExceeded):
        decorated(1, two=2)
    with coopdl.timeout(60) as outer:
        ended(spin, coopdl.timeout(0))
        outer.reschedule(None)
        outer.reschedule(outer.when())
        outer.reschedule(None)
        repr(outer), coopdl.remaining(), coopdl.deadline(), coopdl.preloaded()
    cancelled = coopdl.timeout(60)
    ended(lambda: (cancelled.cancel(), spin()), cancelled)
    for wrong in -1, 'soon', float('nan'):
        with contextlib.suppress(TypeError, ValueError):
            coopdl.timeout(wrong)
    left = coopdl.timeout(0.01)
    left.__enter__()
    del left


def main():
    use()
    for _ in range(2):
        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
    child = os.fork()
    if child == 0:
        ended(spin, coopdl.timeout(0.02))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    print('done')


main()
