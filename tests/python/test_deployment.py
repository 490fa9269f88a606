# SPDX-License-Identifier: Apache-2.0
"""test_deployment.py -- the examples of examples/ for systemd, cron, containers and CI.

Each is read as its own engine reads it, and what it starts is run as that would: with a silent
server in place of the one in the example, and SHORT in place of the limit.  What limits the example
from outside is to come later than the budget and its grace.
"""
import json
import os
import re
import shlex
import shutil
import subprocess
import time
import unittest

import web
from programs import GENEROUS, Scratch, run

try:
    import yaml
except ImportError:
    yaml = None

EXAMPLES = os.path.join(os.environ['SOURCE'], 'examples')
SERVER = 'https://rates.example/today'
SHORT = 0.3
GRACE = 5
UNITS = {'s': 1, 'm': 60, 'h': 3600}
SAID = 'coopdl: deadline passed for command'


def seconds(duration):
    return int(duration[:-1]) * UNITS[duration[-1]]


class Deployment(Scratch):
    def setUp(self):
        super().setUp()
        self.silent = self.enterContext(web.Silent())
        os.mkdir(self.path('bin'))
        os.symlink(os.environ['COOPDL'], self.path('bin', 'coopdl'))
        self.environment = {'PATH': self.path('bin') + ':/usr/bin:/bin',
                            'COOPDL_LIBRARY': os.environ['COOPDL_LIBRARY']}

    def example(self, name, budget):
        """Its text, as it is tried here; and the limit that it says."""
        with open(os.path.join(EXAMPLES, name), encoding='utf-8') as file:
            text = file.read()
        found = re.search(budget, text)
        text = text[:found.start(1)] + f'{SHORT}s' + text[found.end(1):]
        self.assertIn(SERVER, text)
        text = text.replace(SERVER, self.silent.url).replace('/tmp/', self.path(''))
        return text, seconds(found[1])

    def ends(self, *command, status=124, says='curl: ', **variables):
        began = time.monotonic()
        done = run('env', '-i', *(f'{name}={value}' for name, value in
                                  {**self.environment, **variables}.items()), *command)
        took = time.monotonic() - began
        self.ended(done, status, '')
        self.assertIn(says, done.stderr)
        self.assertGreaterEqual(took, SHORT)
        self.assertLess(took, SHORT + GENEROUS)
        web.wait_until(lambda: self.silent.open == 0)

    def test_without(self):
        _, _, line = self.crontab()
        bare = re.search(r'flock .*', line)[0]
        with self.assertRaises(subprocess.TimeoutExpired):
            subprocess.run(['timeout', '--kill-after=1', '5', '/bin/sh', '-c', 'exec ' + bare],
                           check=False, timeout=4 * SHORT)

    def test_systemd(self):
        text, budget = self.example('rates.service', r'COOPDL_BUDGET=(\w+)')
        told = dict(line.split('=', 1) for line in text.splitlines()
                    if '=' in line and not line.startswith('#'))
        self.assertLess(budget + GRACE, seconds(told['TimeoutStartSec']))
        variables = dict(word.split('=', 1) for word in told['Environment'].split())
        self.assertEqual(variables['LD_PRELOAD'], 'libcoopdl.so')
        variables['LD_PRELOAD'] = os.environ['COOPDL_LIBRARY']
        self.ends(*told['ExecStart'].split(), status=43, says='coopdl=cut ', **variables)

    @unittest.skipUnless(shutil.which('systemd-analyze'), 'no systemd-analyze')
    def test_systemd_takes_the_unit(self):
        done = run('systemd-analyze', 'verify', os.path.join(EXAMPLES, 'rates.service'))
        self.ended(done, 0)
        self.assertNotIn('rates.service', done.stderr)

    def crontab(self):
        text, budget = self.example('crontab', r'coopdl --verbose (\w+)')
        line, = re.findall(r'^[*/0-9, -]+ (?=\w)(.*)$', text, re.M)
        return text, budget, line

    def test_cron(self):
        text, budget, line = self.crontab()
        self.assertNotIn('%', line)
        minutes = int(re.search(r'^\*/(\d+)(?: \*){4} ', text, re.M)[1])
        self.assertLess(budget + GRACE, 60 * minutes)
        self.ends('/bin/sh', '-c', line, says=SAID)
        lock = self.path('rates.lock')
        self.assertEqual(run('flock', '--nonblock', lock, 'true').returncode, 0)

    def container(self):
        """The command line of the image."""
        text, _ = self.example('Dockerfile', r'ENTRYPOINT \["coopdl", "(\w+)"')
        words = [json.loads(re.search(rf'^{name} (\[.*\])$', text, re.M)[1])
                 for name in ('ENTRYPOINT', 'CMD')]
        return words[0] + words[1]

    def test_container(self):
        self.ends(*self.container())

    def test_container_as_process_1(self):
        alone = ['unshare', '--pid', '--fork', '--mount-proc']
        if run(*alone, 'true').returncode != 0:
            self.skipTest('no process namespaces for this user')
        self.ends(*alone, *self.container())

    def test_the_image_installs_what_it_runs(self):
        """Without a Docker daemon: the options of its `meson setup` are those that there are."""
        with open(os.path.join(EXAMPLES, 'Dockerfile'), encoding='utf-8') as file:
            words = shlex.split(re.search(r'RUN meson setup (.*?) /build', file.read())[1])
        with open(os.path.join(os.environ['SOURCE'], 'meson_options.txt'), encoding='utf-8') as file:
            options = re.findall(r"option\('(\w+)'", file.read())
        own = [re.match(r'-D(\w+)=', word)[1] for word in words if word.startswith('-D')]
        self.assertLessEqual(set(own), set(options))

    def test_the_image_is_built_as_docker_reads_it(self):
        """Without a Docker daemon: instructions that there are, stages and sources that are named,
        commands that a shell can read."""
        with open(os.path.join(EXAMPLES, 'Dockerfile'), encoding='utf-8') as file:
            lines = [line for line in file.read().replace('\\\n', '').splitlines()
                     if line and not line.startswith('#')]
        stages = []
        for line in lines:
            instruction, rest = line.split(maxsplit=1)
            self.assertIn(instruction, ('FROM', 'RUN', 'COPY', 'ENTRYPOINT', 'CMD'))
            if instruction == 'FROM':
                self.assertRegex(rest, r'^\w+:\d+( AS \w+)?$')
                stages.append(rest.partition(' AS ')[2])
            elif instruction == 'RUN':
                self.ended(run('sh', '-n', '-c', rest), 0, '')
            elif instruction == 'COPY' and rest.startswith('--from='):
                self.assertIn(re.match(r'--from=(\w+) /\w+ /$', rest)[1], stages[:-1])
        self.assertEqual([line.split()[0] for line in lines[-2:]], ['ENTRYPOINT', 'CMD'])

    @unittest.skipUnless(shutil.which('kubectl') and yaml, 'no kubectl, or no module yaml')
    def test_kubectl_takes_the_job(self):
        """It reads what it knows, and drops what it does not."""
        path = os.path.join(EXAMPLES, 'job.yaml')
        with open(path, encoding='utf-8') as file:
            given = yaml.safe_load(file)
        container, = given['spec']['template']['spec']['containers']
        done = run('kubectl', 'set', 'image', '--local', '--filename', path,
                   f'{container["name"]}={container["image"]}:other', '--output', 'json')
        self.ended(done, 0)
        container['image'] += ':other'
        self.has_all(given, json.loads(done.stdout))

    def has_all(self, given, read):
        self.assertIs(type(given), type(read))
        if isinstance(given, dict):
            self.assertLessEqual(set(given), set(read))
            for name, value in given.items():
                self.has_all(value, read[name])
        elif isinstance(given, list):
            self.assertEqual(len(given), len(read))
            for pair in zip(given, read):
                self.has_all(*pair)
        else:
            self.assertEqual(given, read)

    @unittest.skipUnless(yaml, 'no module yaml')
    def test_kubernetes(self):
        text, budget = self.example('job.yaml', r'command: .*?(\d+s)\]')
        job = yaml.safe_load(text)
        self.assertEqual((job['apiVersion'], job['kind']), ('batch/v1', 'Job'))
        self.assertLess(budget + GRACE, job['spec']['activeDeadlineSeconds'])
        pod = job['spec']['template']['spec']
        self.assertIn(pod['restartPolicy'], ('Never', 'OnFailure'))  # a job takes no other
        container, = pod['containers']
        self.ends(*container['command'], *container['args'], says=SAID)

    @unittest.skipUnless(yaml, 'no module yaml')
    def test_github_actions(self):
        text, budget = self.example('workflow.yml', r'coopdl --verbose (\w+)')
        job, = yaml.safe_load(text)['jobs'].values()
        step = job['steps'][0]
        self.assertLess(budget + GRACE, 60 * step['timeout-minutes'])
        self.write('step.sh', step['run'])
        self.ends('bash', '-e', self.path('step.sh'), says=SAID)
