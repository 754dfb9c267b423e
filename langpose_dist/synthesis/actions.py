"""The vocabulary: every action with its label, categories in BABEL's words, and how people write it down."""

from dataclasses import dataclass
from functools import partial
from typing import Literal

from langpose_dist.synthesis import gestures, leaping, locomotion, postures, striking
from langpose_dist.synthesis.motion import SIDES, Perform, Side, other

Posture = Literal["standing", "sitting", "kneeling on left", "kneeling on right"]


@dataclass(frozen=True)
class Action:
    """One label of the corpus."""

    label: str
    """BABEL's ``proc_label``."""
    categories: tuple[str, ...]
    """BABEL's ``act_cat``."""
    phrases: tuple[str, ...]
    """What annotators write, BABEL's ``raw_label``."""
    perform: Perform
    weight: float = 1.0
    """How often it comes, relative to the others; unequal, as in real data."""
    before: Posture = "standing"
    after: Posture = "standing"
    seated: bool = False
    """Whether it can be done while sitting as well."""


def _sided(label: str, *phrases: str) -> tuple[tuple[Side, str, tuple[str, ...]], ...]:
    """A label and its phrases for either side; ``{side}`` and ``{other}`` stand for the words."""
    return tuple(
        (
            side,
            label.format(side=side, other=other(side)),
            tuple(phrase.format(side=side, other=other(side)) for phrase in phrases),
        )
        for side in SIDES
    )


def _moving() -> list[Action]:
    walk, run, turn = locomotion.walk, locomotion.run, locomotion.turn
    actions = [
        Action("walk", ("walk",), ("walks forward", "the person walks", "walking"), walk, 8.0),
        Action(
            "walk backward",
            ("walk", "backwards movement"),
            ("walks backwards", "walk back", "person is walking backward"),
            partial(walk, way="backward"),
            2.0,
        ),
        Action(
            "walk in circle",
            ("walk", "circular movement"),
            ("walks in a circle", "walk in circles"),
            partial(walk, way="circle"),
            1.5,
        ),
        Action("jog", ("jog",), ("jogging", "jogs forward", "the person jogs"), partial(run, jog=True), 2.0),
        Action("run", ("run",), ("runs", "running forward", "the person runs fast"), run, 2.0),
        Action("march", ("march",), ("marches in place", "marching"), locomotion.march),
        Action("crouch walk", ("walk", "crouch"), ("walks crouched", "crouched walking"), locomotion.sneak),
        Action(
            "walk on tiptoes",
            ("walk", "tiptoe"),
            ("walking on toes", "tiptoes forward"),
            partial(locomotion.sneak, tiptoe=True),
        ),
        Action(
            "step over",
            ("step",),
            ("steps over something", "stepping over an obstacle"),
            locomotion.step_over,
        ),
        Action("jump", ("jump",), ("jumps up", "jumping", "jump in place"), leaping.jump, 2.0),
        Action(
            "jump forward",
            ("jump", "forward movement"),
            ("jumps forward", "leaps ahead with both feet"),
            partial(leaping.jump, forward=True),
        ),
        Action(
            "jumping jacks",
            ("jumping jacks", "exercise/training"),
            ("does jumping jacks", "jumping jack"),
            leaping.jumping_jacks,
        ),
        Action(
            "turn around",
            ("turn",),
            ("turns around", "turning around"),
            lambda person, rng, start: turn(
                person, rng, start, side=SIDES[int(rng.integers(2))], around=True
            ),
            2.0,
        ),
    ]
    for side, label, phrases in _sided("turn {side}", "turns to the {side}", "turning {side}"):
        actions.append(Action(label, ("turn",), phrases, partial(turn, side=side), 2.0))
    for side, label, phrases in _sided(
        "side step {side}", "steps to the {side}", "sidestepping to the {side}"
    ):
        categories = ("step", "sideways movement")
        actions.append(Action(label, categories, phrases, partial(locomotion.side_step, side=side), 1.5))
    for side, label, phrases in _sided(
        "hop on {side} foot", "hops on the {side} leg", "hopping on {side} foot"
    ):
        actions.append(Action(label, ("hop",), phrases, partial(leaping.hop, side=side), 0.7))
    return actions


def _staying() -> list[Action]:
    bend = postures.bend_down
    actions = [
        Action("stand", ("stand",), ("stands still", "standing", "the person stands"), postures.stand, 5.0),
        Action(
            "sit down",
            ("sit",),
            ("sits down", "sitting down on a chair", "the person sits"),
            postures.sit_down,
            2.0,
            after="sitting",
        ),
        Action("sit", ("sit",), ("is sitting", "stays seated"), postures.stay, 7.0, "sitting", "sitting"),
        Action(
            "stand up",
            ("stand up",),
            ("stands up", "gets up from the chair", "standing up"),
            postures.stand_up,
            7.0,  # against all that can be done seated
            before="sitting",
        ),
        Action("squat", ("squat",), ("squats", "does squats", "squatting"), postures.squat, 1.5),
        Action("bend down", ("bend",), ("bends down", "bending forward"), bend, 1.5),
        Action(
            "touch toes",
            ("bend", "touching body part"),
            ("touches the toes", "touching toes with both hands"),
            partial(bend, how="toes"),
        ),
        Action("bow", ("bow",), ("bows", "takes a bow", "bowing"), partial(bend, how="bow")),
    ]
    for side, label, phrases in _sided("kneel on {side} knee", "kneels down on the {side} knee", "kneeling"):
        posture: Posture = "kneeling on left" if side == "left" else "kneeling on right"
        kneel, rise = partial(postures.kneel, side=side), partial(postures.rise, side=side)
        actions += [
            Action(label, ("kneel",), phrases, kneel, 0.7, after=posture),
            Action("stand up", ("stand up",), ("gets up", "rises from the knee"), rise, before=posture),
        ]
    for side, label, phrases in _sided("kick with {side} leg", "kicks with the {side} foot", "{side} kick"):
        actions.append(Action(label, ("kick",), phrases, partial(striking.kick, side=side), 1.2))
    for side, label, phrases in _sided("lunge {side}", "lunges with the {side} leg", "{side} leg lunge"):
        categories = ("lunge", "exercise/training")
        actions.append(Action(label, categories, phrases, partial(postures.lunge, side=side), 0.6))
    for side, label, phrases in _sided(
        "pick up with {side} hand",
        "picks something up",
        "takes an object from the floor with the {side} hand",
    ):
        categories = ("take/pick something up", "bend")
        actions.append(Action(label, categories, phrases, partial(postures.pick_up, side=side), 0.8))
    for side, label, phrases in _sided("balance on {side} leg", "stands on the {side} leg", "balancing"):
        actions.append(Action(label, ("balance",), phrases, partial(postures.balance, side=side), 0.6))
    return actions


def _gesturing() -> list[Action]:
    def seated(
        label: str,
        categories: tuple[str, ...],
        phrases: tuple[str, ...],
        perform: Perform,
        weight: float = 1.0,
    ) -> Action:
        return Action(label, categories, phrases, perform, weight, seated=True)

    raising = ("raising body part", "arm movements")
    actions = [
        seated("clap", ("clap",), ("claps hands", "clapping", "the person applauds"), gestures.clap, 1.5),
        seated(
            "raise both arms",
            raising,
            ("raises both arms", "lifts both hands above the head"),
            partial(gestures.raise_arms, sides=SIDES),
            1.2,
        ),
        seated("stretch arms", ("stretch",), ("stretches", "stretching the arms"), gestures.stretch, 1.5),
        seated(
            "look around", ("look",), ("looks around", "looking left and right"), gestures.look_around, 1.5
        ),
        seated("nod", ("head movements",), ("nods the head", "nodding"), gestures.nod, 0.5),
        seated(
            "shake head",
            ("head movements",),
            ("shakes the head", "head shaking"),
            partial(gestures.nod, shake=True),
            0.5,
        ),
        seated(
            "rotate arms",
            ("arm movements", "circular movement"),
            ("makes circles with the arms", "arm circles"),
            gestures.circle_arms,
        ),
        Action(
            "twist torso",
            ("waist movements", "exercise/training"),
            ("twists the upper body", "torso twists"),
            gestures.twist_trunk,
        ),
        Action(
            "hands on hips", ("poses",), ("puts hands on hips", "hands on waist"), gestures.hands_on_hips, 0.7
        ),
        seated("shrug", ("shrug",), ("shrugs the shoulders", "shrugging"), gestures.shrug, 0.6),
    ]
    for side, label, phrases in _sided(
        "wave {side} hand", "waves with the {side} hand", "waving", "person waves {side} arm"
    ):
        actions.append(seated(label, ("wave", "greet"), phrases, partial(gestures.wave, side=side), 1.5))
    for side, label, phrases in _sided("raise {side} arm", "raises the {side} arm", "lifts {side} hand up"):
        actions.append(seated(label, raising, phrases, partial(gestures.raise_arms, sides=(side,)), 1.2))
    for side, label, phrases in _sided("point with {side} hand", "points at something", "{side} hand points"):
        actions.append(seated(label, ("point",), phrases, partial(gestures.point, side=side)))
    for side, label, phrases in _sided("drink with {side} hand", "drinks from a cup", "takes a sip"):
        actions.append(seated(label, ("drink",), phrases, partial(gestures.drink, side=side), 0.6))
    for side, label, phrases in _sided(
        "punch with {side} hand", "punches with the {side} fist", "{side} jab"
    ):
        actions.append(Action(label, ("punch",), phrases, partial(striking.punch, side=side), 1.2))
    for side, label, phrases in _sided("throw with {side} hand", "throws a ball", "{side} handed throw"):
        actions.append(Action(label, ("throw",), phrases, partial(striking.throw, side=side), 1.2))
    for side, label, phrases in _sided("lean {side}", "leans to the {side}", "side bend to the {side}"):
        actions.append(Action(label, ("lean",), phrases, partial(gestures.lean_aside, side=side), 0.7))
    return actions


ACTIONS: tuple[Action, ...] = (*_moving(), *_staying(), *_gesturing())
"""All actions; "stand up" is there once per posture that it begins from."""
