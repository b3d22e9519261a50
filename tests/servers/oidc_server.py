"""A real OpenID Connect provider over HTTP: discovery, authorization with PKCE, RS256 tokens, keys. Whoever asks is signed in as `person`."""

import base64
import contextlib
import hashlib
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from fastapi import FastAPI, Form, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from joserfc import jwt
from joserfc.jwk import RSAKey

from over_http import running

CLIENT_ID, CLIENT_SECRET = "ragtrial", "a secret of the client"


@dataclass(kw_only=True)
class Provider:
    """What the provider does, and what it was asked.

    Attributes:
        person: Claims about whoever signs in.
        url: Its root address.
        asked: Parameters of each authorization, in order.
        another_key: Sign with a key that is not the published one.
    """

    person: dict[str, Any]
    url: str = ""
    asked: list[dict[str, str]] = field(default_factory=list)
    another_key: bool = False
    _key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, auto_kid=True))
    _codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def secrets_file(self, board: str) -> str:
        """What the dashboard at this address needs to know, as `secrets.toml`."""
        return (
            "[auth]\n"
            f'redirect_uri = "{board}/oauth2callback"\n'
            f'cookie_secret = "{CLIENT_SECRET}"\n'
            f'client_id = "{CLIENT_ID}"\n'
            f'client_secret = "{CLIENT_SECRET}"\n'
            f'server_metadata_url = "{self.url}/.well-known/openid-configuration"\n'
        )

    def token(self, code: str, verifier: str) -> dict[str, Any] | None:
        """The tokens for a code, once; None where it is unknown or the verifier is not the one it was asked with."""
        asked = self._codes.pop(code, None)
        if asked is None:
            return None
        if "code_challenge" in asked:
            made = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
            if made != asked["code_challenge"]:
                return None
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT_ID, "iat": now, "exp": now + 300, "sub": "42", "nonce": asked.get("nonce"), **self.person}
        key = RSAKey.generate_key(2048, parameters={"kid": self._key.kid}) if self.another_key else self._key
        signed = jwt.encode({"alg": "RS256", "kid": self._key.kid or ""}, claims, key)
        return {"access_token": secrets.token_hex(8), "token_type": "Bearer", "expires_in": 300, "id_token": signed}

    def app(self) -> FastAPI:
        """Its routes."""
        app = FastAPI()

        @app.get("/.well-known/openid-configuration")
        def discovery() -> dict[str, Any]:
            return {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/jwks",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "code_challenge_methods_supported": ["S256"],
            }

        @app.get("/jwks")
        def jwks() -> dict[str, Any]:
            return {"keys": [self._key.as_dict(private=False, use="sig", alg="RS256")]}

        @app.get("/authorize")
        def authorize(request: Request) -> Response:
            asked = dict(request.query_params)
            self.asked.append(asked)
            code = secrets.token_hex(8)
            self._codes[code] = asked
            return RedirectResponse(f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}", status_code=302)

        @app.post("/token")
        def token(request: Request, code: str = Form(), code_verifier: str = Form("")) -> Response:
            basic = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
            if request.headers.get("authorization") != f"Basic {basic}":
                return JSONResponse({"error": "invalid_client"}, status_code=401)
            made = self.token(code, code_verifier)
            return JSONResponse({"error": "invalid_grant"}, status_code=400) if made is None else JSONResponse(made)

        return app


@contextlib.contextmanager
def oidc_provider(**person: Any) -> Iterator[Provider]:
    """A provider on a free port that signs everybody in as this person."""
    provider = Provider(person=person)
    with running(provider.app()) as url:
        provider.url = url
        yield provider
