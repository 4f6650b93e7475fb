# SPDX-License-Identifier: Apache-2.0
"""What stands between a client and Pub/Sub at Google and not at its fake: a token endpoint that takes assertions signed by a service account's key (RS256, checked by openssl), and a gate before
the fake that lets nobody in without one of its tokens, or answers with a refusal of Google's.

    with Google(pubsub.address) as g:
        g.key()                    the key file's text, whose token_uri is this endpoint
        g.url                      the endpoint for Pub/Sub itself
        g.refuse(403, "PERMISSION_DENIED", "User not authorized ...", times=1, headers={...})
        g.life, g.tokens, g.revoke()
"""
import base64
import http.client
import http.server
import json
import pathlib
import subprocess
import tempfile
import threading
import time
import urllib.parse

EMAIL = "leat@leat-tests.iam.gserviceaccount.com"


def decoded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Google:
    def __init__(self, pubsub):
        self.pubsub = pubsub
        self.folder = tempfile.TemporaryDirectory()
        self.secret, self.public = (pathlib.Path(self.folder.name) / name for name in ("key.pem", "public.pem"))
        for command in (["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", self.secret], ["pkey", "-in", self.secret, "-pubout", "-out", self.public]):
            subprocess.run(["openssl", *command], check=True, capture_output=True)
        self.life, self.tokens, self.good, self.claims, self.refused = 3600, 0, set(), [], []
        self.turned_away = 0  # requests with a token that is none
        self.lock, self.refusals, self.token_refusal = threading.Lock(), [], None
        google = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, headers, text = google.token(body) if self.path == "/token" else google.metadata(self.headers) if self.path.startswith("/computeMetadata/") else google.pass_on(self, body)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_PUT = do_POST = do_DELETE = answer

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # who asked is gone, or the fake is: the test says so where it counts
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    @property
    def address(self):
        return f"127.0.0.1:{self.server.server_port}"

    @property
    def url(self):
        return f"http://{self.address}"

    def key(self, **more):
        return json.dumps({"type": "service_account", "project_id": "leat-tests", "private_key_id": "key-1", "private_key": self.secret.read_text(), "client_email": EMAIL,
                           "token_uri": self.url + "/token", **more})

    def refuse(self, status, word, text, times=1, headers=None, details=()):
        with self.lock:
            self.refusals += [(status, headers or {}, json.dumps({"error": {"code": status, "message": text, "status": word, "details": list(details)}}).encode())] * times

    def revoke(self):
        """The tokens that are out count no longer."""
        with self.lock:
            self.good.clear()

    # ---- the token endpoint ----

    def new_token(self):
        with self.lock:
            self.tokens += 1
            token = f"ya29.token-{self.tokens}"
            self.good.add(token)
        return 200, {"Content-Type": "application/json"}, json.dumps({"access_token": token, "expires_in": self.life, "token_type": "Bearer"}).encode()

    def token(self, body):
        if self.token_refusal:
            return self.token_refusal
        form = urllib.parse.parse_qs(body.decode())
        wrong = self.wrong(form.get("grant_type", [""])[0], form.get("assertion", [""])[0])
        if wrong:
            self.refused.append(wrong)
            return 400, {}, json.dumps({"error": "invalid_grant", "error_description": wrong}).encode()
        return self.new_token()

    def wrong(self, grant, assertion):
        """Why the assertion is refused; None: it is good."""
        if grant != "urn:ietf:params:oauth:grant-type:jwt-bearer" or assertion.count(".") != 2:
            return "not a JWT bearer grant"
        head, claims, signature = assertion.split(".")
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder.name))
        (folder / "signature").write_bytes(decoded(signature))
        (folder / "text").write_bytes(f"{head}.{claims}".encode())
        if subprocess.run(["openssl", "dgst", "-sha256", "-verify", self.public, "-signature", folder / "signature", folder / "text"], capture_output=True).returncode:
            return "Invalid JWT Signature."
        head, claims, now = json.loads(decoded(head)), json.loads(decoded(claims)), time.time()
        self.claims.append(claims)
        if head != {"alg": "RS256", "typ": "JWT", "kid": "key-1"}:
            return f"Invalid JWT head {head}"
        if claims["iss"] != EMAIL or claims["aud"] != self.url + "/token" or claims["scope"] != "https://www.googleapis.com/auth/pubsub":
            return f"Invalid claims {claims}"
        if not (now - 60 <= claims["iat"] <= now + 60 and 0 < claims["exp"] - claims["iat"] <= 3600):
            return "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe."
        return None

    def metadata(self, headers):
        if headers.get("Metadata-Flavor") != "Google":
            return 403, {}, b"Missing Metadata-Flavor"
        return self.new_token()

    # ---- the gate ----

    def pass_on(self, request, body):
        words = request.headers.get("Authorization", "").split()
        with self.lock:
            known = len(words) == 2 and words[0] == "Bearer" and words[1] in self.good
            refusal = self.refusals.pop(0) if known and self.refusals else None
            self.turned_away += not known
        if not known:
            return 401, {}, json.dumps({"error": {"code": 401, "message": "Request had invalid authentication credentials.", "status": "UNAUTHENTICATED"}}).encode()
        if refusal:
            return refusal
        c = http.client.HTTPConnection(self.pubsub, timeout=100)
        try:
            c.request(request.command, request.path, body or None, {"Content-Type": "application/json"})
            answer = c.getresponse()
            return answer.status, {"Content-Type": "application/json"}, answer.read()
        finally:
            c.close()

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.folder.cleanup()
