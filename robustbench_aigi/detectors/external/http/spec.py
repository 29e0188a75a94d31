"""The description of an HTTP endpoint: what is sent, where the score is, what a request costs."""

from typing import Literal

from pydantic import BaseModel, Field, JsonValue

from robustbench_aigi.detectors.external.http.template import variables

Scale = Literal["probability", "percent", "logit"]
Verdict = Literal[0, 1, "abstain"]


class Login(BaseModel, frozen=True, extra="forbid"):
    """A request that gives a token, sent before the first image and when the token expires.

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
        url: asked by GET; ``{path:...}`` is what the first answer has at that path, such as
            ``{path:data.id}``.
        done: path of the field that says whether the answer is there.
        values: what the field holds then.
        failed: what the field holds where the service gave up.
        every: seconds between requests.
        longest: seconds after which no answer is expected any more.
    """

    url: str
    done: str = "status"
    values: tuple[str, ...] = ("done",)
    failed: tuple[str, ...] = ()
    every: float = Field(default=1.0, ge=0)
    longest: float = Field(default=60.0, gt=0)


class EndpointSpec(BaseModel, frozen=True, extra="forbid"):
    """An HTTP endpoint, read from a TOML file, from arguments, or from both; arguments win.

    Texts may hold placeholders, filled when a request is sent: ``{env:NAME}`` (an environment
    variable; secrets are written in no other way), ``{model}``, ``{label}``, ``{uuid}``,
    ``{sha256}`` (of the PNG file), ``{base64}``, ``{data_uri}``, ``{image_url}`` and ``{token}``
    (of ``token_env`` or of the login).

    Attributes:
        title: the detector's name in reports, made from the URL if empty.
        description: for people.
        documentation: what this was written from, and when.
        terms: the service's terms of use.
        revision: what its user calls the service's present version. Without one a service may
            answer otherwise tomorrow, so results of an earlier run are not reused.
        url: of the endpoint.
        model: fills ``{model}``.
        label: fills ``{label}``.
        body: ``raw`` sends the PNG bytes, ``multipart`` a form with a file, ``json`` the
            ``template``.
        image_field: name of the file's field in a form.
        file_name: of the file in a form.
        form: the form's other fields.
        template: any JSON value.
        headers: beside Accept, Content-Type and Authorization.
        token_env: NAME of the environment variable with the token.
        authorization: how the token is sent.
        login: the request that gives a token.
        poll: requests after an image's own.
        image_url: for a service that takes no bytes: the URL of the file in ``upload_folder``.
        upload_folder: the PNG file is written there, as ``{sha256}.png``, for as long as it is
            asked about.
        score: path of the number, such as ``output.0.classes[class=ai_generated].value``; several
            labels are added up, as in ``[label=dalle|sd].score``.
        scale: ``probability`` (0 to 1), ``percent`` (0 to 100) or ``logit``.
        high: what a high number means.
        score_threshold: on the score's own scale; 0.5, 50 or 0 if None.
        verdicts: for a service that answers in words: word to 1 (AI-generated), 0 (real) or
            "abstain"; the words are at ``score``.
        confidence: path of how sure the service is of its word, on ``scale``, where it says that;
            without it the word is all there is.
        abstain_as: what an image without a verdict counts as. The service did not call it
            AI-generated, so "real" is the default; "error" ends the evaluation of the row.
        min_side: smallest side of an image in pixels.
        max_side: largest side of an image in pixels.
        max_pixels: most pixels of an image.
        max_bytes: most bytes of the PNG file.
        requests_per_second: most requests, from all processes of a machine together.
        budget: most requests, tries, logins and polls included.
        tries: most times to send one request.
        pause: seconds before the second try, doubled before each further one, where the service
            names none in ``Retry-After``.
        longest_pause: seconds; a service that wants a longer pause is given up.
        timeout: seconds to wait for an answer.
        price: per image; None if not known.
        currency: of the price.
    """

    title: str = ""
    description: str = ""
    documentation: str = ""
    terms: str = ""
    revision: str = ""
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
    score_threshold: float | None = None
    verdicts: dict[str, Verdict] = Field(default_factory=dict)
    confidence: str = ""
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
    def labels_only(self) -> bool:
        """Whether all that is read in an answer is a word."""
        return bool(self.verdicts) and not self.confidence

    @property
    def urls(self) -> list[str]:
        """All URLs that requests go to."""
        login_url = self.login.url if self.login else ""
        poll_url = self.poll.url if self.poll else ""
        return [url for url in (self.url, login_url, poll_url) if url]

    @property
    def sent(self) -> list[object]:
        """Everything that is filled before it is sent."""
        body = {"json": self.template, "multipart": self.form, "raw": None}[self.body]
        return [
            *self.urls,
            body,
            self.login.template if self.login else None,
            self.headers,
            self.authorization if self.token_env or self.login else None,
            self.image_url,
        ]

    @property
    def secrets(self) -> list[str]:
        """Names of the environment variables that are read."""
        return variables(self.sent) + ([self.token_env] if self.token_env else [])
