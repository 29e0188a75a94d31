"""The description of an HTTP endpoint: what is sent, where the score is in the answer, what it costs."""

from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, JsonValue, ValidationError

from robustbench_aigi import catalogue
from robustbench_aigi.detectors.anyone.http_template import check_placeholders, secret, uses, variables
from robustbench_aigi.detectors.anyone.http_url import check_no_literal_secret, checked_url
from robustbench_aigi.errors import UserError

Scale = Literal["probability", "percent", "logit"]
Verdict = Literal[0, 1, "abstain"]


class Login(BaseModel, frozen=True, extra="forbid"):
    """A request that gives a token, sent before the first image and again when the token is no longer taken.

    Attributes:
        url: where the template is sent to, as JSON by POST.
        template: the body; its secrets are ``{env:NAME}``.
        token: path of the token in the answer.
        hours: after which a new token is asked for.
    """

    url: str
    template: JsonValue
    token: str = "access_token"
    hours: float = Field(default=12.0, gt=0)


class Poll(BaseModel, frozen=True, extra="forbid"):
    """Requests that ask for the answer after an image was submitted.

    Attributes:
        url: asked by GET; ``{path:...}`` is what the first answer has at that path, such as ``{path:data.id}``.
        done: path of the field that says whether the answer is there.
        values: what the field holds then. failed: what it holds where the service gave up.
        every: seconds between requests. longest: seconds after which no answer is expected any more.
    """

    url: str
    done: str = "status"
    values: tuple[str, ...] = ("done",)
    failed: tuple[str, ...] = ()
    every: float = Field(default=1.0, ge=0)
    longest: float = Field(default=60.0, gt=0)


class EndpointSpec(BaseModel, frozen=True, extra="forbid"):
    """An HTTP endpoint, read from a TOML file, from arguments, or from a file whose entries arguments replace.

    Texts may hold placeholders, filled when a request is sent: ``{env:NAME}`` (an environment variable; secrets are
    written in no other way), ``{model}``, ``{label}``, ``{uuid}``, ``{sha256}`` (of the PNG file), ``{base64}``,
    ``{data_uri}``, ``{image_url}`` and ``{token}`` (of ``token_env`` or of the login).

    Attributes:
        title: the detector's name in reports, made from the URL if empty. description, documentation, terms: for people; the second
            names what the description was written from, and when.
        url: of the endpoint. model, label: fill the placeholders of these names.
        body: ``raw`` sends the PNG bytes, ``multipart`` a form with a file, ``json`` the ``template``.
        image_field, file_name: of the file in a form. form: the form's other fields.
        template: any JSON value. headers: beside Accept, Content-Type and Authorization.
        token_env: NAME of the environment variable with the token. authorization: how the token is sent.
        login, poll: requests before and after an image's own.
        image_url, upload_folder: for a service that takes no bytes: the PNG file is written to the folder, as
            ``{sha256}.png``, for as long as it is asked about, and must be reachable under the URL.
        score: path of the number, such as ``output.0.classes[class=ai_generated].value``; several labels are added
            up, as in ``[label=dalle|sd].score``.
        scale: ``probability`` (0 to 1), ``percent`` (0 to 100) or ``logit``. high: what a high number means.
        threshold: on the score's own scale; 0.5, 50 or 0 if None.
        verdicts: for a service that answers in words: word to 1 (AI-generated), 0 (real) or "abstain"; the words are
            at ``score``. abstain_as: what an image without a verdict counts as. The service did not call it
            AI-generated, so "real" is the default; "error" ends the evaluation of the row.
        min_side, max_side, max_pixels, max_bytes: limits of images, in pixels and in bytes of the PNG file.
        requests_per_second: most requests, from all processes of a machine together.
        budget: most requests, tries, logins and polls included. tries: most times to send one request.
        pause: seconds before the second try, doubled before each further one, where the service names none in
            ``Retry-After``. longest_pause: seconds; a service that wants a longer one is given up.
        timeout: seconds to wait for an answer. price: per image; None if not known. currency: of the price.
    """

    title: str = ""
    description: str = ""
    documentation: str = ""
    terms: str = ""
    url: str = ""
    model: str = ""
    label: str = ""
    body: Literal["raw", "multipart", "json"] = "raw"
    image_field: str = "image"
    file_name: str = "image.png"
    form: dict[str, str] = Field(default_factory=dict)
    template: JsonValue = None
    headers: dict[str, str] = Field(default_factory=dict)
    token_env: str | None = None
    authorization: str = "Bearer {token}"
    login: Login | None = None
    poll: Poll | None = None
    image_url: str = ""
    upload_folder: str = ""
    score: str = "score"
    scale: Scale = "probability"
    high: Literal["fake", "human"] = "fake"
    threshold: float | None = None
    verdicts: dict[str, Verdict] = Field(default_factory=dict)
    abstain_as: Literal["real", "fake", "error"] = "real"
    min_side: int = Field(default=0, ge=0)
    max_side: int | None = Field(default=None, ge=1)
    max_pixels: int | None = Field(default=None, ge=1)
    max_bytes: int | None = Field(default=None, ge=1)
    requests_per_second: float | None = Field(default=None, gt=0)
    budget: int = 10_000
    tries: int = 5
    pause: float = 1.0
    longest_pause: float = Field(default=120.0, ge=0)
    timeout: float = 30.0
    price: float | None = Field(default=None, ge=0)
    currency: str = "USD"

    @property
    def urls(self) -> list[str]:
        """All URLs that requests go to."""
        more = [self.login.url if self.login else "", self.poll.url if self.poll else ""]
        return [url for url in (self.url, *more) if url]

    @property
    def sent(self) -> JsonValue:
        """Everything that is filled before it is sent."""
        login = self.login.template if self.login else None
        own = self.template if self.body == "json" else dict(self.form) if self.body == "multipart" else None
        return [*self.urls, own, login, dict(self.headers), self.image_url]

    @property
    def secrets(self) -> list[str]:
        """Names of the environment variables that are read."""
        return variables(self.sent) + ([self.token_env] if self.token_env else [])


def read_spec(name: str) -> EndpointSpec:
    """Read a preset by name, or a file ending in ``.toml``. Raises ``UnknownName`` or ``BadConfig``."""
    return catalogue.read("endpoints", name, EndpointSpec)


def merged(spec: EndpointSpec | None, given: dict[str, object], base: str | None = None) -> EndpointSpec:
    """Return a description with arguments in the place of its own entries.

    Args:
        base: ``scheme://host``, put in the place of that of every URL: a gateway, or a server for a trial.

    Raises:
        UserError: an argument that is not known, or of the wrong type.
    """
    try:
        new = EndpointSpec.model_validate((spec.model_dump(exclude_unset=True) if spec else {}) | given)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, f['loc']))}: {f['msg'].lower()}" for f in error.errors())
        raise UserError(
            f"the description of the endpoint does not fit: {faults}. Its entries are "
            f"{', '.join(EndpointSpec.model_fields)}."
        ) from None  # pydantic's own text shows what was given, which may be a secret
    if base is None:
        return new
    changed: dict[str, object] = {"url": rebased(new.url, base)}
    if new.login is not None:
        changed["login"] = new.login.model_copy(update={"url": rebased(new.login.url, base)})
    if new.poll is not None:
        changed["poll"] = new.poll.model_copy(update={"url": rebased(new.poll.url, base)})
    return new.model_copy(update=changed)


def rebased(url: str, base: str) -> str:
    """Return a URL at another ``scheme://host``."""
    parts = urlsplit(url)
    return base.rstrip("/") + url.removeprefix(f"{parts.scheme}://{parts.netloc}")


def check_spec(spec: EndpointSpec) -> None:
    """Raise ``UserError`` for a description that cannot be used, ``Unavailable`` for a secret that is not set."""
    for where in ("url", "form", "template", "headers", "image_url", "authorization", "score"):
        check_placeholders(getattr(spec, where), where)
    if spec.poll is not None:
        check_placeholders(spec.poll.url, "poll.url", path=True)
    if spec.login is not None:
        check_placeholders([spec.login.url, spec.login.template], "login")
    hidden = bool(spec.secrets) or spec.login is not None
    for url in spec.urls or [""]:
        checked_url(url, secured=hidden)
    check_no_literal_secret(dict(spec.headers) | {"Authorization": spec.authorization}, "headers")
    check_no_literal_secret(dict(spec.form), "form")
    check_no_literal_secret(spec.template, "template")
    check_no_literal_secret(spec.login.template if spec.login else None, "login.template")
    if spec.budget < 1 or spec.tries < 1 or spec.pause < 0 or spec.timeout <= 0:
        raise UserError(
            f"budget, tries, pause or timeout is too low: {spec.budget}, {spec.tries}, {spec.pause}, {spec.timeout}. "
            "Write budget and tries of at least 1, a pause of at least 0 and a timeout above 0."
        )
    _check_entries(spec)
    for name in spec.secrets:
        secret(name)


def _check_entries(spec: EndpointSpec) -> None:
    """Entries that only mean something together."""
    who = spec.title or "the endpoint"
    for name in ("model", "label"):
        if uses([spec.sent, spec.score], name) and not getattr(spec, name):
            meant = "the label that means AI-generated" if name == "label" else "the model to ask"
            raise UserError(f"{who} needs {name}, {meant}. Write {name}='NAME'.")
    needs_url = uses(spec.sent, "image_url")
    if needs_url and not (spec.image_url and spec.upload_folder):
        raise UserError(
            f"{who} takes no image, only the URL of one. Write image_url='https://HOST/{{sha256}}.png' and "
            "upload_folder='FOLDER', a folder of that host where the files are to be written."
        )
    if needs_url and not uses(spec.image_url, "sha256"):
        raise UserError("image_url must tell images apart. Write {sha256} in it.")
    if spec.body == "json" and not any(uses(spec.template, name) for name in ("base64", "data_uri", "image_url")):
        raise UserError("a JSON template must hold the image. Write {base64}, {data_uri} or {image_url} in it.")
    names = [spec.image_field, spec.file_name, *spec.form, *spec.headers]
    if any(not name or not name.isprintable() or '"' in name for name in names):
        raise UserError("names of headers, form fields and files must be plain text. Leave out quotes and line breaks.")
    if uses(spec.sent, "token") and not (spec.login or spec.token_env):
        raise UserError("{token} is the one of token_env or of a login. Write token_env='NAME'.")
