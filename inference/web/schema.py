"""The requests and responses of the HTTP API, for its OpenAPI document: the JSON forms of the result types."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import UploadFile
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from ..treatments.cautions import Context

ScarType = Literal["ice_pick", "boxcar", "rolling"]
Probability = Annotated[float, Field(ge=0, le=1)]


def _whole(value: object) -> object:
    """Return 2 for 2.0, because JSON does not distinguish them."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


SkinType = Annotated[int, Field(ge=1, le=6), BeforeValidator(_whole)]


class Person(BaseModel):
    """Facts about the person in the photo. A missing field means not given, which differs from no."""

    model_config = ConfigDict(extra="forbid")

    skin_type: Annotated[SkinType | None, Field(description="Fitzpatrick skin type.")] = None
    pregnant: bool | None = None
    isotretinoin_months: Annotated[
        float | None,
        Field(ge=0, allow_inf_nan=False, description="Months since the last dose of oral isotretinoin; 0: taken now."),
    ] = None
    active_acne: Annotated[bool | None, Field(description="Active acne as well as scars.")] = None
    keloid_history: Annotated[
        bool | None, Field(description="Ever had a keloid, or a scar that grew beyond its wound.")
    ] = None

    def context(self) -> Context | None:
        """Return the facts as a context; None if none was given."""
        context = Context(**{name: getattr(self, name) for name in Person.model_fields})
        return None if context == Context() else context


class PhotoForm(Person):
    """A photo, with facts about the person."""

    photo: Annotated[UploadFile, Field(description="An image file.")]
    picture: Annotated[bool, Field(description="Whether to return a small picture of the photo.")] = False


class PairForm(BaseModel):
    """Two photos of one place."""

    model_config = ConfigDict(extra="forbid")

    before: Annotated[UploadFile, Field(description="The earlier photo, an image file.")]
    after: Annotated[UploadFile, Field(description="The later photo, an image file.")]


class PlanRequest(Person):
    """The types of an answer, with facts about the person."""

    model_config = ConfigDict(extra="forbid", strict=True)  # in JSON a 0 is no "no"

    label: Annotated[ScarType | None, Field(description="The answer's label, if it has one.")] = None
    plausible: Annotated[list[ScarType], Field(min_length=1, max_length=3, description="The answer's plausible types.")]


class Figure(BaseModel):
    """A quantity as a document states it; `text` is for display."""

    low: float | None
    high: float | None
    exclusive: bool
    text: str


class Claim(BaseModel):
    """One statement of one document, in our own words."""

    topic: str
    about: list[str]
    says: str
    figures: dict[str, Figure]
    disputed: Annotated[list[str], Field(description="Ids of the disagreements that involve it.")]
    document: Annotated[str, Field(description="File name of the document.")]


class Source(BaseModel):
    """Source of a caution: the citation, and the page where we read it."""

    citation: str
    verified: str


class Caution(BaseModel):
    """A caution from the clinical literature that applies to the person."""

    level: Literal["avoid", "caution", "note"]
    reason: str
    says: str
    sources: list[Source]
    number: int


class Treatment(BaseModel):
    """A treatment: what the documents say, and the cautions for it."""

    id: str
    name: str
    kind: str
    scar_types: list[ScarType]
    claims: list[Claim]
    cautions: list[Caution]


class Side(BaseModel):
    """One side of a disagreement."""

    says: str
    documents: list[str]


class Disagreement(BaseModel):
    """Conflicting statements."""

    id: str
    subject: str
    nature: str
    about: list[str]
    within_document: bool
    sides: list[Side]


class TypePlan(BaseModel):
    """What the documents say about one scar type, or about acne scars in general."""

    scar_type: ScarType | None
    title: str
    facts: list[Claim]
    treatments: list[Treatment]
    disagreements: list[Disagreement]


class Document(BaseModel):
    """One of the five documents."""

    number: str
    file: str
    title: str
    kind: str


class Plan(BaseModel):
    """What the documents say about the types of an answer: information, not advice."""

    label: ScarType | None
    undecided: bool
    types: list[TypePlan]
    general: TypePlan
    context: Annotated[Person | None, Field(description="The facts about the person, as understood.")]
    not_told: list[str]
    cautions: list[Caution]
    avoid: Annotated[list[str], Field(description="Ids of the treatments to avoid for this person.")]
    documents: list[Document]
    notice: str


class Row(BaseModel):
    """The photo's row, as in a table of `scarlens batch`."""

    path: str
    status: Literal["ok", "abstained", "error"]
    label: ScarType | None
    p_ice_pick: Probability | None
    p_boxcar: Probability | None
    p_rolling: Probability | None
    in_scope: Probability | None
    plausible: list[ScarType] | None
    extent_ice_pick: Probability | None
    extent_boxcar: Probability | None
    extent_rolling: Probability | None
    skin: Probability | None
    reason: str | None
    sha256: str | None
    width: int | None
    height: int | None
    model_id: str
    version: str


class Seen(BaseModel):
    """What scarlens sees in one photo: information, not a diagnosis."""

    headline: Annotated[str, Field(description="The answer in one line, or the reason for abstaining.")]
    label: Annotated[ScarType | None, Field(description="None if it abstains; see `reason`.")]
    probabilities: Annotated[dict[ScarType, Probability], Field(description="Calibrated; they sum to 1.")]
    in_scope: Annotated[
        Probability, Field(description="Probability that the photo shows one of the three types at all.")
    ]
    plausible: Annotated[
        list[ScarType],
        Field(description="Conformal prediction set, designed to include the true type in 90 % of cases."),
    ]
    reason: Literal["out_of_scope", "ambiguous", "low_quality"] | None
    fault: Annotated[str | None, Field(description="What is wrong with a photo of low quality, in words.")]
    regions: Annotated[
        list[list[list[Probability]]], Field(description="[3, h, w]: where each type is seen in the upright photo.")
    ]
    scar_threshold: Annotated[
        Probability, Field(description="A scar is seen where the sum of `regions` reaches this value.")
    ]
    extent: Annotated[
        dict[ScarType, Probability], Field(description="Share of the visible skin that each type covers.")
    ]
    skin: Annotated[Probability, Field(description="Share of the photo that is skin.")]
    most_seen: Annotated[ScarType | None, Field(description="The type that covers most skin; None if no scar is seen.")]
    contradiction: Annotated[str | None, Field(description="How label and map disagree, in one sentence.")]
    model_id: str
    version: str
    width: Annotated[int, Field(description="Width of the upright photo in pixels.")]
    height: int
    notice: str


class Answer(Seen):
    """What scarlens says about one photo, and what the documents say about treatment."""

    treatment: Annotated[Plan | None, Field(description="None for a rejected photo.")]
    row: Row
    picture: Annotated[
        str | None, Field(description="The upright photo as a small data URL without metadata, if requested.")
    ] = None


class Change(BaseModel):
    """How far a type extends in two photos of one place."""

    before: Probability
    after: Probability
    more_than: Annotated[
        Literal["nothing", "same_light", "any_light"] | None,
        Field(description="What cannot explain the change; null if the model's repeatability was not measured."),
    ]


class ComparedPhoto(Seen):
    """One of two compared photos: the part that both show, or the whole photo if they are not compared."""

    picture: Annotated[str, Field(description="What was compared, as a small data URL without metadata.")]


class ComparedPhotos(BaseModel):
    """What changed between two photos of one place. It says nothing about healing."""

    headline: Annotated[str, Field(description="The answer in one sentence.")]
    obstacle: Annotated[
        Literal["other_place", "low_quality", "no_scar"] | None, Field(description="Why the photos are not compared.")
    ]
    changes: Annotated[dict[str, Change], Field(description='By type, and "all" of them; empty if not compared.')]
    before: ComparedPhoto
    after: ComparedPhoto
    limits: Annotated[str, Field(description="What the comparison does not say.")]
    model_id: str
    version: str
    notice: str


class Problem(BaseModel):
    """Why there is no answer, in one line: what was expected, what was found, how to fix it."""

    error: str
    row: Annotated[Row | None, Field(description="The row of a photo that cannot be read.")] = None


class TypeName(BaseModel):
    """A scar type with its display name and colour."""

    name: ScarType
    title: str
    colour: Annotated[str, Field(pattern="^#[0-9a-f]{6}$")]


class About(BaseModel):
    """Constants that the page needs."""

    version: str
    model_id: str
    notice: str
    max_bytes: Annotated[int, Field(description="Size limit of a file in bytes.")]
    types: list[TypeName]
    reasons: Annotated[dict[str, str], Field(description="Every reason for abstaining, with its sentence.")]
    kinds: Annotated[dict[str, str], Field(description="Treatment kinds with their headings, in display order.")]
    topics: Annotated[dict[str, str], Field(description="Fact topics with their headings, in display order.")]
    subjects: Annotated[dict[str, str], Field(description="Subjects of claims, with display names.")]
    natures: Annotated[dict[str, str], Field(description="Kinds of disagreement, most serious first.")]
    quantities: Annotated[dict[str, str], Field(description="The words before a figure, by quantity.")]
    mentions: Annotated[
        dict[str, str], Field(description="Words that mention treatments in running text, with the treatment ids.")
    ]
    columns: Annotated[list[str], Field(description="Columns of the table, in order.")]
