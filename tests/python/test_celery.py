# SPDX-License-Identifier: Apache-2.0
"""test_celery.py -- the page's example in Celery's pools, with a Redis server that this starts."""
import importlib.util
import os
import shutil
import subprocess
import sys
import time
import unittest

import pages
import web
from programs import GENEROUS, LOADED, Scratch, run

MISSING = not (shutil.which('redis-server') and importlib.util.find_spec('celery') and
               importlib.util.find_spec('redis') and importlib.util.find_spec('pycurl'))

# Beside the page's.
JOBS = """

import time
import urllib.request

from celery.exceptions import SoftTimeLimitExceeded

import coopdl

# Else Celery asks for more only once in a second.
app.conf.worker_prefetch_multiplier = 0


@app.task
def left():
    return coopdl.remaining()


travelling = app.task(left.run, name='jobs.travelling', deadline_travels=True)


@app.task(time_limit=20)
def ask():
    sent = [travelling.apply_async(), left.apply_async(), travelling.apply_async(countdown=0.1)]
    return [result.id for result in sent]


@app.task(soft_time_limit=0.2, time_limit=60)
def cleans(url):
    try:
        total.run(url)
    except SoftTimeLimitExceeded:
        time.sleep(0.3)
        return 'cleaned'


@app.task(time_limit=0.3)
def tidies(url, path):
    # At its time limit it has the grace.
    try:
        waits.run(url) if path.endswith('waits') else total.run(url)
    finally:
        time.sleep(0.2)
        open(path, 'w').close()


@app.task(soft_time_limit=0.5)
def waits(url):
    # As Python does it; gevent then runs others.
    urllib.request.urlopen(url).read()
"""


@unittest.skipIf(MISSING, 'no redis-server, or no module celery, redis or pycurl')
class Celery(Scratch):
    def setUp(self):
        super().setUp()
        self.silent = self.enterContext(web.Silent())
        pages.write('celery.md', self.directory)
        socket = self.path('redis')
        self.start('redis-server', '--port', '0', '--unixsocket', socket, '--save', '', log='redis.log')
        web.wait_until(lambda: os.path.exists(socket))
        os.environ['REDIS'] = self.redis = f'redis+socket://{socket}'

    def start(self, *command, log):
        with open(self.path(log), 'wb') as file:
            process = subprocess.Popen(
                command, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                preexec_fn=web.end_with_the_parent, start_new_session=True,
                env={**os.environ, 'PYTHONPATH': web.PATH})
        self.addCleanup(web.kill_group, process)
        return process

    def work(self, pool, concurrency):
        with open(self.path('jobs.py'), 'a', encoding='utf-8') as file:
            file.write(JOBS)
        self.worker = self.start(*self.worker_of(pool, concurrency), log='log')
        import celery
        # It sends by name, and asks for results itself: a result of Celery's own is subscribed to.
        self.app = celery.Celery(broker=self.redis, set_as_current=False)
        self.backend = celery.Celery(backend=self.redis, set_as_current=False).backend
        self.addCleanup(self.app.close)
        self.assertEqual(self.result(self.send('add', 1, 2)), 3)

    def worker_of(self, pool, concurrency):
        return [sys.executable, '-m', 'celery', '-A', 'jobs', 'worker', '--pool', pool,
                '--concurrency', str(concurrency), '--without-gossip', '--without-mingle',
                '--without-heartbeat', '--loglevel', 'critical']

    def send(self, task, *args, **options):
        return self.app.send_task('jobs.' + task, args, **options).id

    def result(self, task):
        def ready():
            meta.update(self.backend.get_task_meta(task))
            return meta['status'] in ('SUCCESS', 'FAILURE')
        meta = {}
        web.wait_until(ready)
        return meta['result']

    def failed(self, task, error, limit):
        self.assertEqual(repr(self.result(task)), f'{error}({limit})')

    def limits(self):
        """In any pool: the task's own limit, that of a message, and clean-up."""
        began = time.monotonic()
        own = self.send('total', self.silent.url)
        sent = self.send('total', self.silent.url, soft_time_limit=0.3)
        hard = self.send('total', self.silent.url, soft_time_limit=30, time_limit=0.3)
        self.failed(own, 'SoftTimeLimitExceeded', 1)
        self.assertGreaterEqual(time.monotonic() - began, 1)
        self.failed(sent, 'SoftTimeLimitExceeded', 0.3)
        self.failed(hard, 'TimeLimitExceeded', 0.3)
        self.assertEqual(self.result(self.send('cleans', self.silent.url)), 'cleaned')
        self.assertEqual(self.result(self.send('add', 1, 2)), 3)
        web.wait_until(lambda: self.silent.open == 0)
        self.assertIsNone(self.worker.poll())

    def test_solo(self):
        self.work('solo', 1)
        self.limits()

    def test_prefork(self):
        """No process is killed."""
        self.work('prefork', 2)
        with open(f'/proc/{self.worker.pid}/task/{self.worker.pid}/children', encoding='ascii') as file:
            processes = file.read()
            self.limits()
            self.tidies()
            file.seek(0)
            self.assertEqual(file.read(), processes)

    def test_threads(self):
        self.work('threads', 8)
        self.limits()
        self.tidies()
        self.travels()

    @unittest.skipUnless(importlib.util.find_spec('gevent'), 'no module gevent')
    def test_gevent(self):
        """Who keeps the only thread is ended, and who waits beside the others."""
        self.work('gevent', 50)
        self.limits()
        self.tidies()
        self.travels(late=0.1)
        began = time.monotonic()
        for task in [self.send('waits', self.silent.url) for _ in range(30)]:
            self.failed(task, 'SoftTimeLimitExceeded', 0.5)
        self.assertGreaterEqual(time.monotonic() - began, 0.5)
        self.assertLess(time.monotonic() - began, 0.5 + GENEROUS)

    @unittest.skipUnless(importlib.util.find_spec('eventlet'), 'no module eventlet')
    def test_eventlet_is_refused(self):
        done = run(*self.worker_of('eventlet', 2), cwd=self.directory, PYTHONPATH=web.PATH)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertIn('coopdl: time limits do not hold in the eventlet pool; accepted are ',
                      done.stderr.splitlines()[-1])

    def tidies(self):
        """Clean-up after the time limit is not cut, whatever the task was at."""
        for how in 'waits', 'blocks':
            path = self.path(how)
            self.failed(self.send('tidies', self.silent.url, path), 'TimeLimitExceeded', 0.3)
            web.wait_until(lambda: os.path.exists(path))

    def travels(self, late=0):
        """What is left to who sends a task, if that asks for it."""
        hasty, own, later = self.result(self.send('ask'))
        self.assertLessEqual(self.result(hasty), 20 + late)
        self.assertIsNone(self.result(own))
        self.assertIsNone(self.result(later))

    def test_a_thousand(self):
        self.work('threads', 8)
        self.many_late('total', 200 if LOADED else 1000)

    @unittest.skipUnless(importlib.util.find_spec('gevent'), 'no module gevent')
    def test_many_in_greenlets(self):
        # gevent's own threads look names up, and come as they are needed.
        os.environ['GEVENT_RESOLVER'] = 'block'
        self.addCleanup(os.environ.pop, 'GEVENT_RESOLVER')
        self.work('gevent', 50)
        self.many_late('waits', 60, 50)  # a greenlet may have a connection to Redis of its own

    def many_late(self, name, count, more=0):
        """Then the worker has what it had, but for so many descriptors more, and is as fast."""

        def quick():
            began = time.monotonic()
            for task in [self.send('add', 1, 2) for _ in range(min(count, 50))]:
                self.result(task)
            return time.monotonic() - began

        for task in [self.send(name, self.silent.url, soft_time_limit=0.3) for _ in range(16)]:
            self.failed(task, 'SoftTimeLimitExceeded', 0.3)  # so that all threads are there
        took = quick()
        threads, descriptors = web.holds(self.worker.pid)

        def results():
            """Redis has other keys as well, for as long as a message is not acknowledged."""
            return len(self.backend.client.keys('celery-task-meta-*'))

        whole = results() + count
        late = [self.send(name, self.silent.url, soft_time_limit=0.01) for _ in range(count)]
        web.wait_until(lambda: results() >= whole, lambda: f'{results()} >= {whole}')
        for task in late[::count // 20]:
            self.failed(task, 'SoftTimeLimitExceeded', 0.01)
        web.wait_until(lambda: self.silent.open == 0, lambda: f'{self.silent.open} == 0')
        allowed = threads, descriptors + more
        web.wait_until(lambda: web.holds_no_more(self.worker.pid, allowed),
                       lambda: f'{web.holds(self.worker.pid)} <= {allowed}')
        self.assertLess(quick(), 5 * took + 1)

    def test_without(self):
        """Two tasks hang in two threads, and the third is not begun."""
        with open(self.path('jobs.py'), encoding='utf-8') as file:
            text = file.read()
        bare = text.replace("task_cls='coopdl.celery:Task',", '')
        self.assertNotEqual(text, bare)
        self.write('jobs.py', bare)
        self.work('threads', 2)
        for _ in range(2):
            self.send('total', self.silent.url)
        web.wait_until(lambda: self.silent.open == 2)
        third = self.send('add', 1, 2)
        time.sleep(1.5)
        self.assertEqual(self.backend.get_task_meta(third)['status'], 'PENDING')
        self.assertEqual(self.silent.open, 2)
