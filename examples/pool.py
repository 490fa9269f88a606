#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""pool.py SECONDS URL... -- a pool of worker threads that fetch pages, each page within SECONDS.

A page that hangs is reported, and its worker goes on with the next page.
"""
import concurrent.futures
import sys
import urllib.request

import coopdl


def fetch(url, seconds):
    with coopdl.timeout(seconds), urllib.request.urlopen(url) as answer:
        return len(answer.read())


def main(seconds, *urls):
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        futures = {pool.submit(fetch, url, float(seconds)): url for url in urls}
        for future in concurrent.futures.as_completed(futures):
            try:
                print(futures[future], future.result(), 'bytes')
            except coopdl.DeadlineExceeded:
                print(futures[future], 'took too long')


if __name__ == '__main__':
    main(*sys.argv[1:])
