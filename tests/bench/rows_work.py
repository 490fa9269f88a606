# SPDX-License-Identifier: Apache-2.0
"""rows_work.py -- whole programs at work under a far budget, against without the library."""
import os
import shutil
import subprocess
import sys
import time

from measure import Failed, ratio, skipped

ROUNDS = 5
CALLS = 100000
FILES = 10000


def compared(tools, what, rounds, command, settings=None):
    mine, theirs = tools.by_turns(rounds,
                                  lambda: tools.seconds(command, dict(tools.budget, **(settings or {}))),
                                  lambda: tools.seconds(command, settings))
    return ratio(what, 'without the library', mine, theirs, 1.02, least=0.98)


def answers(tools, command):
    for _ in range(100):
        try:
            tools.run(command)
            return
        except Failed:
            time.sleep(0.1)
    raise Failed(f"{' '.join(command)}: no answer")


def with_server(tools, server, ready, rows_of):
    """The rows that are measured while the server runs; it is started without the library."""
    process = subprocess.Popen(server, env=tools.plain, stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        answers(tools, ready)
        yield from rows_of()
    finally:
        process.terminate()
        process.wait()


def redis(tools):
    what = f'{CALLS} redis round trips'
    if not shutil.which('redis-server') or not shutil.which('redis-benchmark'):
        yield skipped(what, 'no redis-server')
        return
    socket = os.path.join(tools.scratch, 'redis')
    server = ['redis-server', '--port', '0', '--unixsocket', socket, '--save', '']
    command = ['redis-benchmark', '-s', socket, '-n', str(CALLS), '-c', '1', '-t', 'ping_mbulk', '-q']
    yield from with_server(tools, server, ['redis-cli', '-s', socket, 'ping'],
                           lambda: [compared(tools, what, ROUNDS, command)])


NGINX = """
daemon off; pid %(at)s/nginx.pid; error_log %(at)s/error.log; worker_processes 1;
events {}
http { access_log off; client_body_temp_path %(at)s; proxy_temp_path %(at)s;
  fastcgi_temp_path %(at)s; uwsgi_temp_path %(at)s; scgi_temp_path %(at)s;
  server { listen 127.0.0.1:%(port)d; root %(at)s/files; } }
"""
PORT = 18080


def nginx(tools):
    what = f'libcurl: {FILES} small files from nginx'
    server = shutil.which('nginx') or '/usr/sbin/nginx'
    if not os.path.exists(server):
        yield skipped(what, 'no nginx')
        return
    os.chmod(tools.scratch, 0o755)
    os.mkdir(os.path.join(tools.scratch, 'files'))
    for number in range(FILES):
        with open(os.path.join(tools.scratch, 'files', str(number)), 'w') as file:
            file.write('small\n')
    settings = os.path.join(tools.scratch, 'nginx.conf')
    with open(settings, 'w') as file:
        file.write(NGINX % {'at': tools.scratch, 'port': PORT})
    address = f'http://127.0.0.1:{PORT}/'
    command = ['curl', '-s', '-o', '/dev/null', f'{address}[0-{FILES - 1}]']
    yield from with_server(tools, [server, '-c', settings],
                           ['curl', '-s', '-f', '-o', '/dev/null', address + '0'],
                           lambda: [compared(tools, what, ROUNDS, command)])


def suites(tools):
    python = sys.executable
    import test  # Debian keeps the tests in a package of their own
    where = os.path.dirname(test.__file__)
    for what, path, command in (
            ('pytest of test_argparse', 'test_argparse.py',
             [python, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', '-x']),
            ("CPython's test_socket", 'test_socket.py',
             # In some virtual machines a connection to VSOCK waits for ever.
             [python, '-m', 'test', '-q', '-i', '*VSOCK*', 'test_socket'])):
        file = os.path.join(where, path)
        if not os.path.exists(file):
            yield skipped(what, 'no libpython3.11-testsuite')
            continue
        yield compared(tools, what, 3, command + ([file] if 'pytest' in command else []),
                       {'PYTHONDONTWRITEBYTECODE': '1'})


def rows(tools):
    size = '256M' if tools.quick else '1G'
    yield compared(tools, f'{size} through a pipe', ROUNDS,
                   ['sh', '-c', f'head -c {size} /dev/zero | cat >/dev/null'])
    if tools.quick:
        return
    yield from redis(tools)
    yield from nginx(tools)
    yield from suites(tools)
