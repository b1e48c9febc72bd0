"""Log-in: tokens for service principals, with Microsoft's errors (`AADSTS...`)."""

import base64
import datetime
import json
import re
import secrets
import uuid
from urllib.parse import parse_qsl

from errors import ArmError
from web import Reply

TENANT = "72f988bf-0000-4000-8000-000000000001"
CLIENT = "11111111-aaaa-4aaa-8aaa-000000000001"
SECRET = "test~Secret.of+the/test=Azure"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
AUDIENCES = (
    "https://management.azure.com",
    "https://management.core.windows.net",
    "https://management.chinacloudapi.cn",
    "https://management.core.chinacloudapi.cn",
    "https://management.usgovcloudapi.net",
    "https://management.core.usgovcloudapi.net",
)


class LoginError(Exception):
    """A refusal of the log-in service."""

    def __init__(self, status, error, code, text):
        super().__init__(text)
        self.status, self.error, self.code, self.text = status, error, code, text

    def reply(self, base):
        now = datetime.datetime.now(datetime.timezone.utc)
        trace, correlation = str(uuid.uuid4()), str(uuid.uuid4())
        stamp = now.strftime("%Y-%m-%d %H:%M:%SZ")
        description = (
            f"AADSTS{self.code}: {self.text} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {stamp}"
        )
        body = {
            "error": self.error,
            "error_description": description,
            "error_codes": [self.code],
            "timestamp": stamp,
            "trace_id": trace,
            "correlation_id": correlation,
            "error_uri": f"{base}/error?code={self.code}",
        }
        return Reply(self.status, body)


def encoded(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def decoded(token):
    """Returns the claims of a JWT, unverified, or nothing."""
    try:
        part = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        return claims if isinstance(claims, dict) else None
    except (ValueError, IndexError):
        return None


class Tokens:
    """Applications of one tenant, and the tokens that were given out."""

    def __init__(self, cloud):
        self.cloud = cloud
        self.clear()

    def clear(self):
        self.applications = {
            CLIENT: {"secret": SECRET, "expired": [], "issuer": "https://issuer.test", "subject": "occopus"}
        }
        self.given = {}

    def expire(self):
        """Ends the life of all tokens."""
        for token in self.given:
            self.given[token] = 0

    def check(self, request):
        """Refuses a request without a token that is valid."""
        header = request.headers.get("Authorization")
        challenge = f'Bearer authorization_uri="{request.base}/{self.cloud.tenant}", error="invalid_token"'

        def refuse(code, message):
            return ArmError(401, code, message, headers={"WWW-Authenticate": challenge})

        if not header:
            raise refuse("AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing.")
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise refuse(
                "AuthenticationFailedInvalidHeader",
                "Authentication failed. The 'Authorization' header is provided in an invalid format.",
            )
        until = self.given.get(token)
        if until is None:
            raise refuse("InvalidAuthenticationToken", "The access token is invalid.")
        now = self.cloud.now()
        if until <= now:
            moment = lambda at: datetime.datetime.fromtimestamp(at, datetime.timezone.utc).strftime(
                "%m/%d/%Y %I:%M:%S %p"
            )
            raise refuse(
                "ExpiredAuthenticationToken",
                f"The access token expiry UTC time '{moment(until)}' is earlier than current UTC time '{moment(now)}'.",
            )

    def answer(self, request):
        """Answers `/TENANT/oauth2/v2.0/token` and the older `/TENANT/oauth2/token`."""
        tenant, old = request.segments[0], "v2.0" not in [segment.lower() for segment in request.segments]
        form = dict(parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True))
        try:
            self.check_tenant(tenant)
            self.check_form(form, old, request.base)
            self.check_client(form)
        except LoginError as error:
            return error.reply(request.base)
        return Reply(200, self.give(tenant, form, old), {"Cache-Control": "no-store, no-cache"})

    def check_tenant(self, tenant):
        if not re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[\w-]+(\.[\w-]+)+", tenant):
            text = f"Specified tenant identifier '{tenant}' is neither a valid DNS name, nor a valid external domain."
            raise LoginError(400, "invalid_request", 900023, text)
        if tenant.lower() != self.cloud.tenant.lower():
            text = (
                f"Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into"
                " the correct cloud. Check with your subscription administrator, this may happen if there are no"
                " active subscriptions for the tenant."
            )
            raise LoginError(400, "invalid_request", 90002, text)

    def check_form(self, form, old, base):
        for name in ("grant_type", "client_id", "resource" if old else "scope"):
            if not form.get(name):
                raise LoginError(
                    400, "invalid_request", 900144, f"The request body must contain the following parameter: '{name}'."
                )
        if form["grant_type"] != "client_credentials":
            raise LoginError(
                400,
                "unsupported_grant_type",
                70003,
                f"The app requested an unsupported grant type '{form['grant_type']}'.",
            )
        wanted = form["resource"] if old else form["scope"]
        if not old:
            if not wanted.endswith("/.default"):
                text = (
                    f"The provided value for scope {wanted} is not valid. Client credential flows must have a scope"
                    " value with /.default suffixed to the resource identifier (application ID URI)."
                )
                raise LoginError(400, "invalid_scope", 1002012, text)
            wanted = wanted.removesuffix("/.default")
        if wanted.rstrip("/") not in (*AUDIENCES, base):
            text = (
                f"The resource principal named {wanted} was not found in the tenant named Test. This can happen if the"
                " application has not been installed by the administrator of the tenant or consented to by any user in"
                " the tenant. You might have sent your authentication request to the wrong tenant."
            )
            raise LoginError(400, "invalid_resource", 500011, text)

    def check_client(self, form):
        client = form["client_id"]
        application = self.applications.get(client.lower())
        if application is None:
            text = (
                f"Application with identifier '{client}' was not found in the directory 'Test'. This can happen if the"
                " application has not been installed by the administrator of the tenant or consented to by any user in"
                " the tenant. You may have sent your authentication request to the wrong tenant."
            )
            raise LoginError(400, "unauthorized_client", 700016, text)
        if form.get("client_assertion"):
            return self.check_assertion(form, application)
        if not form.get("client_secret"):
            text = "The request body must contain the following parameter: 'client_assertion' or 'client_secret'."
            raise LoginError(401, "invalid_client", 7000218, text)
        if form["client_secret"] in application["expired"]:
            text = (
                f"The provided client secret keys for app '{client}' are expired. Visit the Azure portal to create new"
                " keys for your app: https://aka.ms/NewClientSecret, or consider using certificate credentials for"
                " added security: https://aka.ms/certCreds."
            )
            raise LoginError(401, "invalid_client", 7000222, text)
        if form["client_secret"] != application["secret"]:
            text = (
                "Invalid client secret provided. Ensure the secret being sent in the request is the client secret"
                f" value, not the client secret ID, for a secret added to app '{client}'."
            )
            raise LoginError(401, "invalid_client", 7000215, text)

    def check_assertion(self, form, application):
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            raise LoginError(
                400,
                "invalid_request",
                900144,
                "The request body must contain the following parameter: 'client_assertion_type'.",
            )
        claims = decoded(form["client_assertion"])
        if claims is None:
            raise LoginError(400, "invalid_request", 50027, "JWT token is invalid or malformed.")
        issuer, subject, audience = claims.get("iss"), claims.get("sub"), claims.get("aud")
        if (issuer, subject) != (
            application["issuer"],
            application["subject"],
        ) or audience != "api://AzureADTokenExchange":
            text = (
                "No matching federated identity record found for presented assertion. Assertion Issuer: "
                f"'{issuer}'. Assertion Subject: '{subject}'. Assertion Audience: '{audience}'."
            )
            raise LoginError(401, "invalid_client", 70021, text)
        now = self.cloud.now()
        if not isinstance(claims.get("exp"), (int, float)) or claims["exp"] <= now:
            text = (
                f"Client assertion is not within its valid time range. Current time: {now:.0f}, expiry time of"
                f" assertion {claims.get('exp')}."
            )
            raise LoginError(401, "invalid_client", 700024, text)

    def give(self, tenant, form, old):
        seconds = int(self.cloud.settings["token_seconds"])
        now = int(self.cloud.now())
        claims = {
            "aud": "https://management.azure.com",
            "iat": now,
            "exp": now + seconds,
            "tid": tenant,
            "appid": form["client_id"],
        }
        token = f"{encoded({'typ': 'JWT', 'alg': 'RS256'})}.{encoded(claims)}.{secrets.token_urlsafe(32)}"
        self.given[token] = now + seconds
        if old:
            lifetime = {
                "expires_in": str(seconds),
                "ext_expires_in": str(seconds),
                "expires_on": str(now + seconds),
                "not_before": str(now - 300),
                "resource": form["resource"],
            }
        else:
            lifetime = {"expires_in": seconds, "ext_expires_in": seconds}
        return {"token_type": "Bearer", **lifetime, "access_token": token}


def discovery(request):
    """Answers `/TENANT/v2.0/.well-known/openid-configuration`, which Microsoft's libraries ask for."""
    base = f"{request.base}/{request.segments[0]}"
    return Reply(
        200,
        {
            "token_endpoint": f"{base}/oauth2/v2.0/token",
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "issuer": f"{base}/v2.0",
            "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
            "jwks_uri": f"{base}/discovery/v2.0/keys",
            "tenant_region_scope": "EU",
        },
    )
