#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""nightly.py URL SECONDS -- a nightly job: it fetches a report, and holds a lock file meanwhile.

If the server hangs, the job ends with an error after SECONDS, and the lock file is gone:

    python3 nightly.py https://example.org/report 60

It needs the Python package coopdl, and no preload.  In a crontab no change to the job is needed:

    0 3 * * *  /usr/bin/coopdl 10m python3 /usr/local/bin/job.py
"""
import os
import sys
import urllib.request

import coopdl

LOCK = 'nightly.lock'


def fetch(url):
    """It has no timeout of its own."""
    with urllib.request.urlopen(url) as answer:
        return answer.read()


def main(url, seconds):
    os.close(os.open(LOCK, os.O_CREAT | os.O_EXCL))
    try:
        with coopdl.timeout(float(seconds)):
            report = fetch(url)
    except coopdl.DeadlineExceeded as error:
        return f'nightly: {error}'
    finally:
        os.unlink(LOCK)
    print(f'{len(report)} bytes')
    return 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
