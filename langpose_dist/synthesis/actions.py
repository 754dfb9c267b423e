"""The vocabulary: every action with its label, its categories in BABEL and phrases of annotators."""

from dataclasses import dataclass
from functools import partial

from langpose_dist.synthesis.gestures import (
    circle_arms,
    clap,
    drink,
    hands_on_hips,
    lean_aside,
    look_around,
    nod,
    point,
    raise_arms,
    shrug,
    stretch,
    twist_trunk,
    wave,
)
from langpose_dist.synthesis.leaping import hop, jump, jumping_jacks
from langpose_dist.synthesis.locomotion import (
    march,
    run,
    side_step,
    sneak,
    step_over,
    turn,
    turn_around,
    walk,
)
from langpose_dist.synthesis.motion import Perform, mirrored
from langpose_dist.synthesis.postures import (
    balance,
    balance_on_right,
    bend_down,
    kneel,
    lunge,
    pick_up,
    rise,
    sit_down,
    squat,
    stand,
    stand_up,
    stay,
)
from langpose_dist.synthesis.striking import kick, punch, throw


@dataclass(frozen=True)
class Action:
    """One label of the corpus."""

    label: str
    """BABEL's ``proc_label``."""
    categories: tuple[str, ...]
    """BABEL's ``act_cat``."""
    phrases: tuple[str, ...]
    """Annotators' words, BABEL's ``raw_label``."""
    perform: Perform
    weight: float
    """Relative frequency; unequal, as in real data."""
    before: str
    """The posture it begins in: standing, sitting, kneeling on left or kneeling on right."""
    after: str
    """The posture it ends in."""
    seated: bool
    """Can be done while sitting as well."""


def _row(
    label: str,
    categories: str,
    phrases: str,
    perform: Perform,
    weight: float = 1.0,
    *,
    right: Perform | None = None,
    before: str = "standing",
    after: str = "standing",
    seated: bool = False,
) -> tuple[Action, ...]:
    """One row of the table; where its texts name ``{side}``, the actions of the left and of the right.

    Commas separate categories and phrases. ``perform`` does the left action; ``right`` is its mirror image
    by default.
    """
    performs = {"": perform}
    if "{side}" in label + before:
        performs = {"left": perform, "right": right or mirrored(perform)}
    return tuple(
        Action(
            label=label.format(side=side),
            categories=tuple(categories.split(", ")),
            phrases=tuple(phrases.format(side=side).split(", ")),
            perform=perform,
            weight=weight,
            before=before.format(side=side),
            after=after.format(side=side),
            seated=seated,
        )
        for side, perform in performs.items()
    )


# fmt: off
ACTIONS: tuple[Action, ...] = (
    *_row("walk", "walk", "walks forward, the person walks, walking", walk, 8.0),
    *_row("walk backward", "walk, backwards movement",
          "walks backwards, walk back, person is walking backward", partial(walk, way="backward"), 2.0),
    *_row("walk in circle", "walk, circular movement", "walks in a circle, walk in circles",
          partial(walk, way="circle"), 1.5),
    *_row("jog", "jog", "jogging, jogs forward, the person jogs", partial(run, jog=True), 2.0),
    *_row("run", "run", "runs, running forward, the person runs fast", run, 2.0),
    *_row("march", "march", "marches in place, marching", march),
    *_row("crouch walk", "walk, crouch", "walks crouched, crouched walking", sneak),
    *_row("walk on tiptoes", "walk, tiptoe", "walking on toes, tiptoes forward", partial(sneak, tiptoe=True)),
    *_row("step over", "step", "steps over something, stepping over an obstacle", step_over),
    *_row("jump", "jump", "jumps up, jumping, jump in place", jump, 2.0),
    *_row("jump forward", "jump, forward movement", "jumps forward, leaps ahead with both feet",
          partial(jump, forward=True)),
    *_row("jumping jacks", "jumping jacks, exercise/training", "does jumping jacks, jumping jack",
          jumping_jacks),
    *_row("turn around", "turn", "turns around, turning around", turn_around, 2.0),
    *_row("turn {side}", "turn", "turns to the {side}, turning {side}", turn, 2.0),
    *_row("side step {side}", "step, sideways movement", "steps to the {side}, sidestepping to the {side}",
          side_step, 1.5),
    *_row("hop on {side} foot", "hop", "hops on the {side} leg, hopping on {side} foot", hop, 0.7),
    *_row("stand", "stand", "stands still, standing, the person stands", stand, 5.0),
    *_row("sit down", "sit", "sits down, sitting down on a chair, the person sits", sit_down, 2.0,
          after="sitting"),
    *_row("sit", "sit", "is sitting, stays seated", stay, 7.0, before="sitting", after="sitting"),
    # Its weight is against all that can be done seated.
    *_row("stand up", "stand up", "stands up, gets up from the chair, standing up", stand_up, 7.0,
          before="sitting"),
    *_row("squat", "squat", "squats, does squats, squatting", squat, 1.5),
    *_row("bend down", "bend", "bends down, bending forward", bend_down, 1.5),
    *_row("touch toes", "bend, touching body part", "touches the toes, touching toes with both hands",
          partial(bend_down, how="toes")),
    *_row("bow", "bow", "bows, takes a bow, bowing", partial(bend_down, how="bow")),
    *_row("kneel on {side} knee", "kneel", "kneels down on the {side} knee, kneeling", kneel, 0.7,
          after="kneeling on {side}"),
    *_row("stand up", "stand up", "gets up, rises from the knee", rise, before="kneeling on {side}"),
    *_row("kick with {side} leg", "kick", "kicks with the {side} foot, {side} kick", kick, 1.2),
    *_row("lunge {side}", "lunge, exercise/training", "lunges with the {side} leg, {side} leg lunge",
          lunge, 0.6),
    *_row("pick up with {side} hand", "take/pick something up, bend",
          "picks something up, takes an object from the floor with the {side} hand", pick_up, 0.8),
    *_row("balance on {side} leg", "balance", "stands on the {side} leg, balancing", balance, 0.6,
          right=balance_on_right),
    *_row("clap", "clap", "claps hands, clapping, the person applauds", clap, 1.5, seated=True),
    *_row("raise both arms", "raising body part, arm movements",
          "raises both arms, lifts both hands above the head", partial(raise_arms, both=True), 1.2,
          seated=True),
    *_row("stretch arms", "stretch", "stretches, stretching the arms", stretch, 1.5, seated=True),
    *_row("look around", "look", "looks around, looking left and right", look_around, 1.5, seated=True),
    *_row("nod", "head movements", "nods the head, nodding", nod, 0.5, seated=True),
    *_row("shake head", "head movements", "shakes the head, head shaking", partial(nod, shake=True), 0.5,
          seated=True),
    *_row("rotate arms", "arm movements, circular movement", "makes circles with the arms, arm circles",
          circle_arms, seated=True),
    *_row("twist torso", "waist movements, exercise/training", "twists the upper body, torso twists",
          twist_trunk),
    *_row("hands on hips", "poses", "puts hands on hips, hands on waist", hands_on_hips, 0.7),
    *_row("shrug", "shrug", "shrugs the shoulders, shrugging", shrug, 0.6, seated=True),
    *_row("wave {side} hand", "wave, greet", "waves with the {side} hand, waving, person waves {side} arm",
          wave, 1.5, seated=True),
    *_row("raise {side} arm", "raising body part, arm movements",
          "raises the {side} arm, lifts {side} hand up", raise_arms, 1.2, seated=True),
    *_row("point with {side} hand", "point", "points at something, {side} hand points", point, seated=True),
    *_row("drink with {side} hand", "drink", "drinks from a cup, takes a sip", drink, 0.6, seated=True),
    *_row("punch with {side} hand", "punch", "punches with the {side} fist, {side} jab", punch, 1.2),
    *_row("throw with {side} hand", "throw", "throws a ball, {side} handed throw", throw, 1.2),
    *_row("lean {side}", "lean", "leans to the {side}, side bend to the {side}", lean_aside, 0.7),
)
# fmt: on
"""All actions; "stand up" is there once per posture that it begins from."""
