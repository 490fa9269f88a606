# SPDX-License-Identifier: Apache-2.0
"""matrix_rows.py -- the programs of the matrix: how each is run, and what it is to say.

A row names a program, the protocol that its servers begin with (matrix_servers.HEADS), its
words, and the servers that it is run against.  In the words PORT is the server's and HOME
a directory for what the program writes.  The first word is a program that has to be there,
`needs` a command that succeeds where all else is.
"""
import dataclasses

HOLE, DRIP, STALLED = 'black hole', 'drip', 'stalled TLS'


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    protocol: str
    words: tuple
    error: str = ''  # what it says when it ends by itself: a regular expression
    servers: tuple = (HOLE, DRIP)
    needs: tuple = ()
    works: bool = False  # whether there is a working server to hold it against
    sigterm: str = ''  # why it does not end by itself; it ends by SIGTERM at the grace
    hangup: str = ''  # the same; it ends when its connection is hung up
    at_once: str = ''  # why it gets SIGTERM at its deadline
    status: str = ''  # its own exit status, a regular expression; else a failure, or SIGTERM's
    budget: float = 1  # seconds: it has to have reached its server by then
    files: tuple = ()  # (name, text): what is put into HOME first


TLS = (STALLED, DRIP)
URL = {'http': 'http://127.0.0.1:PORT/', 'tls': 'https://127.0.0.1:PORT/'}


def http(name, error, *words, **options):
    return Row(name + ' http', 'http', words + (URL['http'],), error, works=True, **options)


def https(name, error, *words, **options):
    return Row(name + ' https', 'tls', words + (URL['tls'],), error, servers=TLS, works=True,
               **options)


def python(*code):
    """A traceback of dozens of frames takes longer to print than all else that is measured."""
    return '/usr/bin/python3', '-c', '\n'.join(('import sys', 'sys.tracebacklimit = 1', *code))


def imports(module):
    return python('import ' + module)


RSYNC = 'rsync', 'rsync://127.0.0.1:PORT/x/', 'HOME/x'


def rsync_is(*inverted):
    """Of version 3.2, or not: newer ones look at what `select` returns."""
    return 'sh', '-c', ' '.join(('rsync --version | head -n 1 | grep -qF', *inverted, '"version 3.2."'))


TIMED_OUT = 'timed out|TimeoutError|Errno 110|ETIMEDOUT'

URLLIB = python(
    'import ssl, urllib.request',
    'context = ssl._create_unverified_context()',
    'print(urllib.request.urlopen(sys.argv[1], context=context).read())')
REQUESTS = python(
    'import requests, urllib3',
    'urllib3.disable_warnings()',
    'print(requests.get(sys.argv[1], verify=False).text)')
URLLIB3 = python(
    'import urllib3',
    'urllib3.disable_warnings()',
    'pool = urllib3.PoolManager(cert_reqs="CERT_NONE")',
    'print(pool.request("GET", sys.argv[1], retries=1).data)')
HTTPX = python(
    'import httpx',
    'print(httpx.get(sys.argv[1], verify=False, timeout=60).text)')
ASYNCIO = python(
    'import asyncio',
    'async def main():',
    '    reader, writer = await asyncio.open_connection("127.0.0.1", int(sys.argv[1]))',
    '    print(await reader.read())',
    'asyncio.run(main())')
UVLOOP = python(
    'import uvloop',
    'uvloop.install()',
    ASYNCIO[2])
GEVENT = python(
    'from gevent import monkey, socket',
    'monkey.patch_all()',
    'print(socket.create_connection(("127.0.0.1", int(sys.argv[1]))).makefile().read())')
PSYCOPG2 = python(
    'import psycopg2',
    'psycopg2.connect(f"host=127.0.0.1 port={sys.argv[1]} user=x sslmode=disable")')
PY_REDIS = python(
    'import redis',
    'print(redis.Redis(port=int(sys.argv[1])).get("x"))')

NODE = 'require("{}").get(process.argv[1], {{rejectUnauthorized: false}}, ' \
       'answer => answer.pipe(process.stdout))'

PHP_CURL = '''
$curl = curl_init($argv[1]);
curl_setopt($curl, CURLOPT_SSL_VERIFYPEER, 0);
if (!curl_exec($curl)) {
    fwrite(STDERR, "curl: " . curl_error($curl));
    exit(1);
}
'''
# A stream that fails in the middle of a body ends there, and PHP says nothing.
PHP_STREAM = '''
$tls = ["verify_peer" => false, "verify_peer_name" => false];
$body = file_get_contents($argv[1], false, stream_context_create(["ssl" => $tls]));
if (!$body || !str_ends_with($body, "\\n")) {
    fwrite(STDERR, "not the whole body");
    exit(1);
}
echo $body;
'''
PHP_PGSQL = '''
pg_connect("host=127.0.0.1 port=$argv[1] user=x sslmode=disable") || exit(1);
'''
PHP_MYSQLI = '''
mysqli_connect("127.0.0.1", "x", "", "", $argv[1]);
'''

LWP = '''
my $agent = LWP::UserAgent->new(ssl_opts => {verify_hostname => 0, SSL_verify_mode => 0});
my $answer = $agent->get($ARGV[0]);
my $died = $answer->header("X-Died");
die $died || $answer->status_line if $died || !$answer->is_success;
print $answer->content;
'''
IO_SOCKET = '''
my $socket = IO::Socket::INET->new("127.0.0.1:$ARGV[0]") or die "connect: $@";
while (my $line = <$socket>) {
    print $line;
}
die "readline: $!" if $socket->error;
'''

NET_HTTP = '''
url = URI(ARGV[0])
Net::HTTP.start(url.host, url.port, use_ssl: url.scheme == "https", verify_mode: 0) do |http|
  puts http.get("/").body
end
'''
# mime-types 3.4.1 compares types by `eql?` without a `hash` to match: in one process of a hundred
# it warns, as it loads its table, of a type that is twice in there: hence the -W0.
TYPHOEUS = '''
answer = Typhoeus.get(ARGV[0], ssl_verifypeer: false, ssl_verifyhost: 0)
abort answer.return_message unless answer.return_code == :ok
puts answer.body
'''
RUBY_PG = 'PG.connect("host=127.0.0.1 port=#{ARGV[0]} user=x sslmode=disable")'

# Compiled as it is started, so it needs its time.
JAVA = '''
import java.io.InputStream;
import java.net.*;
import java.net.http.*;
import java.security.cert.X509Certificate;
import javax.net.ssl.*;

public class Fetch {
    static class Trusting extends X509ExtendedTrustManager {
        public void checkClientTrusted(X509Certificate[] c, String a) {}
        public void checkServerTrusted(X509Certificate[] c, String a) {}
        public void checkClientTrusted(X509Certificate[] c, String a, Socket s) {}
        public void checkServerTrusted(X509Certificate[] c, String a, Socket s) {}
        public void checkClientTrusted(X509Certificate[] c, String a, SSLEngine e) {}
        public void checkServerTrusted(X509Certificate[] c, String a, SSLEngine e) {}
        public X509Certificate[] getAcceptedIssuers() { return new X509Certificate[0]; }
    }

    static void connection(SSLContext trusting, String url) throws Exception {
        HttpsURLConnection.setDefaultSSLSocketFactory(trusting.getSocketFactory());
        HttpsURLConnection.setDefaultHostnameVerifier((name, session) -> true);
        try (InputStream body = new URL(url).openConnection().getInputStream()) {
            body.transferTo(System.out);
        }
    }

    static void client(SSLContext trusting, String url) throws Exception {
        HttpClient client = HttpClient.newBuilder().sslContext(trusting).build();
        HttpRequest request = HttpRequest.newBuilder(URI.create(url)).build();
        System.out.print(client.send(request, HttpResponse.BodyHandlers.ofString()).body());
    }

    public static void main(String[] words) throws Exception {
        SSLContext trusting = SSLContext.getInstance("TLS");
        trusting.init(null, new TrustManager[] {new Trusting()}, null);
        if (words[0].equals("client"))
            client(trusting, words[1]);
        else
            connection(trusting, words[1]);
    }
}
'''


def java(what):
    return 'java', '-XX:TieredStopAtLevel=1', 'HOME/Fetch.java', what


JAVA_OPTIONS = {'files': (('Fetch.java', JAVA),), 'budget': 5}

# Why a program ends by SIGTERM.
LOOP = 'its event loop aborts on any error but `EINTR`, which it takes and goes on'
HELPER = ('git itself ends at once; its helper, which does the transfer, does not look at what '
          '`select` returns')
CLOCK = 'it does not look at what `poll` returns, but at its own clock'
FUTURE = ('its main thread waits in a futex for a selector thread, which dies of an error without '
          'telling it; so the loop gets `EINTR` alone')
READ = 'it does not look at what `select` returns'
# By its own wait, or by the error of its helper, whichever is the first to end it.
GIT_SAYS = 'error: waitpid .*|fatal: unable to access .*'

SHELL = 'a shell would go on with its next command'

ROWS = [
    http('curl', r'curl: \(43\) .*', 'curl', '-sS'),
    https('curl', r'curl: \(43\) .*', 'curl', '-sSk'),
    http('wget', r'Read error \(Connection timed out\)', 'wget', '-nv', '-O-'),
    https('wget', 'Unable to establish SSL connection', 'wget', '-nv', '-O-',
          '--no-check-certificate'),
    Row('git http', 'http', ('git', 'clone', URL['http'] + 'repository.git', 'HOME/clone'),
        GIT_SAYS, works=True, hangup=HELPER, status='128'),
    Row('git https', 'tls', ('git', '-c', 'http.sslVerify=false', 'clone',
                             URL['tls'] + 'repository.git', 'HOME/clone'),
        GIT_SAYS, servers=TLS, works=True, hangup=HELPER, status='128'),
    Row('git git', 'git', ('git', 'clone', 'git://127.0.0.1:PORT/x', 'HOME/clone'), 'fatal: .*'),
    Row('ssh', 'ssh', ('ssh', '-F', 'none', '-o', 'BatchMode=yes', '-o', 'StrictHostKeyChecking=no',
                       '-o', 'UserKnownHostsFile=/dev/null', '-p', 'PORT', '127.0.0.1', 'true'),
        'banner exchange: .*'),
    Row('rsync', 'rsync', RSYNC, r'rsync error: .*\(code 11\)', needs=rsync_is('-v')),
    Row('rsync 3.2', 'rsync', RSYNC, r'rsync error: .*\(code 12\)', needs=rsync_is(), hangup=READ),
    Row('psql', 'postgres', ('psql', 'host=127.0.0.1 port=PORT user=x sslmode=disable'),
        r'failed: select\(\) failed: Connection timed out'),
    Row('redis-cli', 'redis', ('redis-cli', '-p', 'PORT', 'get', 'x'), 'Error: recv timeout',
        works=True),
    Row('mariadb', 'mysql', ('mariadb', '--no-defaults', '-h', '127.0.0.1', '-P', 'PORT', '-u',
                             'x', '-e', 'select 1'), r'ERROR 2013 \(HY000\)'),

    http('Node', '', 'node', '-e', NODE.format('http'), hangup=LOOP, status='[01]'),
    https('Node', '', 'node', '-e', NODE.format('https'), hangup=LOOP),

    http('PHP curl', 'curl: .*', 'php', '-r', PHP_CURL, needs=('php', '-r', 'curl_init();')),
    https('PHP curl', 'curl: .*', 'php', '-r', PHP_CURL, needs=('php', '-r', 'curl_init();')),
    http('PHP streams', 'not the whole body', 'php', '-r', PHP_STREAM),
    https('PHP streams', '', 'php', '-r', PHP_STREAM, hangup=CLOCK),
    Row('PHP pgsql', 'postgres', ('php', '-r', PHP_PGSQL, 'PORT'), 'Connection timed out',
        needs=('php', '-r', 'pg_last_error(...);')),
    Row('PHP mysqli', 'mysql', ('php', '-r', PHP_MYSQLI, 'PORT'),
        'mysqli_sql_exception: MySQL server has gone away',
        needs=('php', '-r', 'mysqli_init();')),

    http('Perl LWP', 'select failed: Connection timed out', 'perl', '-MLWP::UserAgent', '-e', LWP,
         needs=('perl', '-MLWP', '-e1')),
    https('Perl LWP', "500 Can't connect", 'perl', '-MLWP::UserAgent', '-e', LWP,
          needs=('perl', '-MLWP::Protocol::https', '-e1')),
    Row('Perl IO::Socket', 'raw', ('perl', '-MIO::Socket::INET', '-e', IO_SOCKET, 'PORT'),
        'readline: Connection timed out', works=True),

    http('Java HttpURLConnection', r'(?:Socket|Connect)Exception: .*', *java('connection'), **JAVA_OPTIONS),
    https('Java HttpURLConnection', r'(?:Socket|Connect)Exception: .*', *java('connection'), **JAVA_OPTIONS),
    http('Java HttpClient', '', *java('client'), **JAVA_OPTIONS, hangup=FUTURE, status='[01]'),

    http('Python urllib', TIMED_OUT, *URLLIB),
    https('Python urllib', TIMED_OUT, *URLLIB),
    http('Python requests', 'Read timed out', *REQUESTS, needs=imports('requests')),
    https('Python requests', 'Read timed out', *REQUESTS, needs=imports('requests')),
    http('Python urllib3', 'MaxRetryError', *URLLIB3, needs=imports('urllib3')),
    https('Python urllib3', 'MaxRetryError', *URLLIB3, needs=imports('urllib3')),
    http('Python httpx', r'httpx\.ReadTimeout', *HTTPX, needs=imports('httpx')),
    https('Python httpx', r'httpx\.\w+', *HTTPX, needs=imports('httpx')),
    Row('Python asyncio', 'raw', ASYNCIO + ('PORT',), TIMED_OUT, works=True),
    # End of file, or a reset where the server's next byte was quicker.
    Row('Python uvloop', 'raw', UVLOOP + ('PORT',), works=True, hangup=LOOP, status='[01]',
        needs=imports('uvloop')),
    Row('Python gevent', 'raw', GEVENT + ('PORT',), works=True, hangup=LOOP, status='[01]',
        needs=imports('gevent')),
    Row('Python psycopg2', 'postgres', PSYCOPG2 + ('PORT',),
        r'psycopg2\.OperationalError|select\(\) failed: Connection timed out',
        needs=imports('psycopg2')),
    Row('Python redis', 'redis', PY_REDIS + ('PORT',), r'redis\.exceptions\.TimeoutError: .*',
        needs=imports('redis'), works=True),

    http('Ruby Net::HTTP', r'\(Errno::ETIMEDOUT\)', 'ruby', '-rnet/http', '-e', NET_HTTP),
    https('Ruby Net::HTTP', r'\(Errno::ETIMEDOUT\)', 'ruby', '-rnet/http', '-e', NET_HTTP),
    http('Ruby Typhoeus', 'A libcurl function .*', 'ruby', '-W0', '-rtyphoeus', '-e', TYPHOEUS,
         needs=('ruby', '-rtyphoeus', '-e0')),
    https('Ruby Typhoeus', 'A libcurl function .*', 'ruby', '-W0', '-rtyphoeus', '-e', TYPHOEUS,
          needs=('ruby', '-rtyphoeus', '-e0')),
    Row('Ruby pg', 'postgres', ('ruby', '-rpg', '-e', RUBY_PG, 'PORT'), r'\(Errno::ETIMEDOUT\)',
        needs=('ruby', '-rpg', '-e0')),

    Row('openssl s_client', 'tls', ('openssl', 's_client', '-connect', '127.0.0.1:PORT'),
        'bad select 110|read:errno=110', servers=TLS),
    Row('socat', 'raw', ('socat', '-u', 'TCP:127.0.0.1:PORT', 'STDOUT'), 'Connection timed out',
        works=True),
    Row('nc', 'raw', ('nc', '-d', '127.0.0.1', 'PORT'), 'nc: polling error', works=True),
    # All three end at once, and may have more than one reason.
    http('shell pipeline', '', 'bash', '-o', 'pipefail', '-c',
         'curl -sS "$0" | cat 2>/dev/null | tr a-z A-Z 2>/dev/null', at_once=SHELL),
    http('shell of Node', '', 'bash', '-c', 'node -e "$0" "$1"; echo "$?"', NODE.format('http'),
         at_once=SHELL),
    Row('shell wait', 'raw', ('bash', '-c', 'nc -d 127.0.0.1 PORT & wait; echo waited'),
        works=True, at_once=SHELL),
]
