# SPDX-License-Identifier: Apache-2.0
"""test_behaviour_locks.py -- waiting for another thread or process ends at its deadline,
and no lock is ever held by nobody or by two.

Each wait is tried without a time-out of its own, and with one.
"""
import concurrent.futures
import contextlib
import multiprocessing.pool
import queue
import threading
import time

from behaviour import Table, elsewhere, in_worker

table = Table(__name__)
case = table.case

OWN = 30  # a time-out of the code's own, far behind the deadline
spawn = multiprocessing.get_context('spawn')


def is_free(lock):
    """In another thread: to its owner a recursive lock always looks free."""
    def take():
        assert lock.acquire(False), 'somebody still holds the lock'
        lock.release()
    in_worker(take)


def locked(lock, *timeout):
    """Takes a lock that another thread holds, and sees that no one else has it then."""
    theirs, both = [True], []

    def wait():
        with lock:
            both.extend(theirs)

    def wait_timed():
        if lock.acquire(True, *timeout):
            both.extend(theirs)
            lock.release()

    def free():
        theirs.clear()
        release()

    with elsewhere(lambda: lock) as release:
        yield wait_timed if timeout else wait, free
    assert not both, 'two threads have the lock'
    is_free(lock)


@case()
def lock():
    yield from locked(threading.Lock())


@case()
def lock_timed():
    yield from locked(threading.Lock(), OWN)


@case()
def lock_acquired():
    """It never says that it has not got the lock: those who ask for no time-out do not look."""
    lock, results = threading.Lock(), []
    with elsewhere(lambda: lock) as free:
        yield lambda: results.append(lock.acquire()), free
    assert results in ([], [True]), results


@case()
def rlock():
    yield from locked(threading.RLock())


@case()
def rlock_timed():
    yield from locked(threading.RLock(), OWN)


@case()
def semaphore():
    yield from locked(threading.Semaphore(1))


@case()
def semaphore_timed():
    yield from locked(threading.Semaphore(1), OWN)


def condition_with(timeout):
    condition = threading.Condition()

    def block():
        with condition:
            condition.wait(timeout)

    def free():
        with condition:
            condition.notify_all()

    yield block, free
    is_free(condition)


@case()
def condition():
    yield from condition_with(None)


@case()
def condition_timed():
    yield from condition_with(OWN)


def event_with(timeout):
    event = threading.Event()
    yield lambda: event.wait(timeout), event.set
    assert event.wait(0)


@case()
def event():
    yield from event_with(None)


@case()
def event_timed():
    yield from event_with(OWN)


def queue_get_with(timeout):
    q = queue.Queue()
    yield lambda: q.get(timeout=timeout), lambda: q.put(1)
    is_free(q.mutex)


@case()
def queue_get():
    yield from queue_get_with(None)


@case()
def queue_get_timed():
    yield from queue_get_with(OWN)


def queue_put_with(timeout):
    q = queue.Queue(1)
    q.put(1)
    yield lambda: q.put(2, timeout=timeout), q.get
    is_free(q.mutex)


@case()
def queue_put():
    yield from queue_put_with(None)


@case()
def queue_put_timed():
    yield from queue_put_with(OWN)


def simple_queue_with(timeout):
    q = queue.SimpleQueue()
    yield lambda: q.get(timeout=timeout), lambda: q.put(1)


@case()
def simple_queue():
    yield from simple_queue_with(None)


@case()
def simple_queue_timed():
    yield from simple_queue_with(OWN)


def join_with(timeout):
    event = threading.Event()
    thread = threading.Thread(target=event.wait)
    thread.start()
    yield lambda: thread.join(timeout), event.set
    thread.join()
    assert not thread.is_alive()


@case()
def thread_join():
    yield from join_with(None)


@case()
def thread_join_timed():
    yield from join_with(OWN)


# concurrent.futures

@contextlib.contextmanager
def pending():
    """A future that comes when the function beside it is called."""
    event = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        try:
            yield pool.submit(event.wait), event.set
        finally:
            event.set()


def result_with(timeout):
    with pending() as (future, free):
        yield lambda: future.result(timeout), free
        assert future.result()


@case()
def future_result():
    yield from result_with(None)


@case()
def future_result_timed():
    yield from result_with(OWN)


@case()
def futures_wait():
    with pending() as (future, free):
        yield lambda: concurrent.futures.wait([future]), free


@case()
def futures_as_completed():
    with pending() as (future, free):
        yield lambda: list(concurrent.futures.as_completed([future])), free


def process_result_with(timeout):
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
        future = pool.submit(time.sleep, OWN)

        def free():
            for process in list((pool._processes or {}).values()):
                process.kill()
        yield lambda: future.result(timeout), free


@case()
def process_future_result():
    yield from process_result_with(None)


@case()
def process_future_result_timed():
    yield from process_result_with(OWN)


# multiprocessing

def pool_result_with(timeout):
    event = threading.Event()
    with multiprocessing.pool.ThreadPool(1) as pool:
        result = pool.apply_async(event.wait)
        yield lambda: result.get(timeout), event.set
        event.set()
        assert result.get()


@case()
def pool_result():
    yield from pool_result_with(None)


@case()
def pool_result_timed():
    yield from pool_result_with(OWN)


@contextlib.contextmanager
def sleeping_process():
    process = spawn.Process(target=time.sleep, args=(OWN,))
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


@case()
def process_join():
    with sleeping_process() as process:
        yield process.join
        assert process.is_alive()


@case()
def process_join_timed():
    with sleeping_process() as process:
        yield lambda: process.join(OWN)
        assert process.is_alive()


def pipe_recv_with(receive):
    ours, theirs = spawn.Pipe()
    with ours, theirs:
        yield lambda: receive(ours)
        theirs.send('late')
        assert ours.recv() == 'late'


@case()
def process_pipe_recv():
    yield from pipe_recv_with(lambda ours: ours.recv())


@case()
def process_pipe_poll():
    yield from pipe_recv_with(lambda ours: ours.poll(OWN))


def process_queue_with(timeout):
    q = spawn.Queue()
    yield lambda: q.get(timeout=timeout)
    q.put('late')
    assert q.get(timeout=OWN) == 'late'
    q.close()
    q.join_thread()


@case()
def process_queue():
    yield from process_queue_with(None)


@case()
def process_queue_timed():
    yield from process_queue_with(OWN)


@case()
def process_lock():
    yield from locked(spawn.Lock())


@case()
def process_lock_timed():
    yield from locked(spawn.Lock(), OWN)


Main, Worker = table.classes()
