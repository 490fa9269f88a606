# SPDX-License-Identifier: Apache-2.0
"""test_behaviour_clients.py -- clients of a server that takes their connection and says
nothing end at their deadline, whatever each library makes of the error."""
import contextlib
import importlib
import socket
import urllib.request

from behaviour import Table

table = Table(__name__)
case = table.case

# It reads all certificates of the system, which is C code that looks at nothing.
urllib.request.install_opener(urllib.request.build_opener())

OWN = 30  # a time-out of the code's own, far behind the deadline


@contextlib.contextmanager
def silent_server():
    """The kernel takes connections for a server that never calls accept."""
    with socket.create_server(('127.0.0.1', 0)) as server:
        yield server.getsockname()[1]


def get(fetch):
    with silent_server() as port:
        yield lambda: fetch(f'http://127.0.0.1:{port}/')


@case()
def urllib_urlopen():
    yield from get(urllib.request.urlopen)


@case()
def urllib_urlopen_timed():
    yield from get(lambda url: urllib.request.urlopen(url, timeout=OWN))


@case('requests')
def requests_get():
    yield from get(importlib.import_module('requests').get)


@case('requests')
def requests_get_timed():
    requests = importlib.import_module('requests')
    yield from get(lambda url: requests.get(url, timeout=OWN))


def perform(*options):
    pycurl = importlib.import_module('pycurl')

    def fetch(url):
        curl = pycurl.Curl()
        curl.setopt(pycurl.URL, url)
        for option in options:
            curl.setopt(getattr(pycurl, option), OWN)
        curl.perform()
    yield from get(fetch)


@case('pycurl')
def pycurl_perform():
    yield from perform()


@case('pycurl')
def pycurl_perform_timed():
    yield from perform('TIMEOUT', 'NOSIGNAL')


@case('psycopg2')
def psycopg2_connect():
    psycopg2 = importlib.import_module('psycopg2')
    with silent_server() as port:
        yield lambda: psycopg2.connect(host='127.0.0.1', port=port, dbname='d', user='u')


@case('psycopg2')
def psycopg2_connect_timed():
    psycopg2 = importlib.import_module('psycopg2')
    with silent_server() as port:
        yield lambda: psycopg2.connect(host='127.0.0.1', port=port, dbname='d', user='u',
                                       connect_timeout=OWN)


@case('redis')
def redis_ping():
    redis = importlib.import_module('redis')
    with silent_server() as port:
        yield redis.Redis('127.0.0.1', port).ping


@case('redis')
def redis_ping_timed():
    redis = importlib.import_module('redis')
    with silent_server() as port:
        yield redis.Redis('127.0.0.1', port, socket_timeout=OWN, retry_on_timeout=True).ping


Main, Worker = table.classes()
