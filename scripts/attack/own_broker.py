"""A broker for the attacks beside this file, and tokens that it accepts. Nothing but the broker runs: what would need
Power BI or Entra is refused before it is asked for.

EMBED_BROKER_BIN names the program (default target/debug/embed-broker).
"""
import base64, contextlib, hashlib, hmac, json, os, pathlib, signal, socket, subprocess, tempfile, time

ISSUER, SECRET = "https://attack.example/", b"attack-secret-not-for-production"

CONFIG = f"""
server: {{ listen: 127.0.0.1:PORT, ops_listen: 127.0.0.1:OPS, trusted_proxies: [127.0.0.1/32] }}
rate_limit: {{ per_caller_per_minute: PER_MINUTE }}
authn:
  issuers: [{{ issuer: "{ISSUER}", audiences: [embed-broker], algorithms: [HS256], hmac_secret: {SECRET.decode()} }}]
principals:
  default:
    tenant_id: 11111111-1111-4111-8111-111111111111
    client_id: 22222222-2222-4222-8222-222222222222
    credentials: [{{ kind: client_secret, secret: never-sent }}]
    authority_url: http://127.0.0.1:9/
audit: {{ sink: file, file: audit.jsonl }}
policy_file: policy.yaml
"""
POLICY = """
items: { sales: { kind: report, workspace: Sales, report: Sales } }
rules: [{ name: all, items: [sales], identity: none }]
cases: [{ name: all, claims: { sub: u }, item: sales, expect: { rule: all } }]
"""


def _encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def token(subject, **claims):
    claims = {"iss": ISSUER, "aud": "embed-broker", "sub": subject, "exp": int(time.time()) + 600, **claims}
    signed = _encoded(b'{"alg":"HS256"}') + b"." + _encoded(json.dumps(claims, separators=(",", ":")).encode())
    return (signed + b"." + _encoded(hmac.digest(SECRET, signed, hashlib.sha256))).decode()


class Broker:
    def __init__(self, folder, child, port, ops):
        self.folder, self.child, self.pid = folder, child, child.pid
        self.url, self.ops = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{ops}"
        self.audit_file = folder / "audit.jsonl"

    def memory(self):
        """MiB that the process has in memory."""
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise SystemExit(f"process {self.pid} is gone")

    def end(self):
        """Ends it as an orchestrator does; what it has counted is written."""
        self.child.send_signal(signal.SIGTERM)
        if self.child.wait(30) != 0:
            raise SystemExit(f"the broker ended with {self.child.returncode}")


def _free():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def running(per_minute):
    """A broker that lets each caller ask so often a minute; 0: without limit."""
    root = pathlib.Path(__file__).resolve().parents[2]
    program = pathlib.Path(os.environ.get("EMBED_BROKER_BIN", root / "target/debug/embed-broker")).resolve()
    port, ops = _free(), _free()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        config = CONFIG.replace("PORT", str(port)).replace("OPS", str(ops)).replace("PER_MINUTE", str(per_minute))
        (folder / "broker.yaml").write_text(config)
        (folder / "policy.yaml").write_text(POLICY)
        # What the caller of the attacks sets for other brokers is not for this one.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("EMBED_BROKER__")}
        with open(folder / "log", "w") as log:
            child = subprocess.Popen([program, "--config", folder / "broker.yaml"], stdout=log, stderr=log, env=environment)
        try:
            for _ in range(400):
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                if child.poll() is not None:
                    raise SystemExit((folder / "log").read_text())
                time.sleep(0.05)
            yield Broker(folder, child, port, ops)
        finally:
            child.kill()
            child.wait()
