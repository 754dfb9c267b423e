"""Classes of action recognition: BABEL's categories, a file's names, or what a training split has often."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from langpose_dist.config import UserError
from langpose_dist.data.labels import normalise_label

_BABEL = """
walk, stand, hand movements, turn, interact with/use object, arm movements, t pose, step, backwards
movement, raising body part, look, touch object, leg movements, forward movement, circular movement,
stretch, jump, touching body part, sit, place something, take/pick something up, run, bend, throw, foot
movements, a pose, stand up, lowering body part, sideways movement, move up/down incline, action with
ball, kick, gesture, head movements, jog, grasp object, waist movements, lift something, knee movement,
wave, move something, swing body part, catch, dance, lean, greet, poses, touching face, sports move,
exercise/training, clean something, punch, squat, scratch, hop, play sport, stumble, crossing limbs,
perform, martial art, balance, kneel, shake, grab body part, clap, crouch, spin, upper body movements,
knock, adjust, crawl, twist, move back to original position, bow, hit, touch ground, shoulder movements,
telephone call, grab person, play instrument, tap, spread, skip, rolling movement, jump rope, play
catch, drink, evade, support, point, side to side movement, stop, protect, wrist movements, stances,
wait, shuffle, lunge, communicate (vocalise), jumping jacks, rub, dribble, swim, sneak, to lower a body
part, misc. abstract action, mix, limp, sway, slide, cartwheel, press something, shrug, open something,
leap, trip, golf, move misc. body part, get injured, sudden movement
"""
"""BABEL's 120 most frequent categories, the most frequent first.

Source:
    github.com/abhinanda-punnakkal/BABEL at 38d8fa9, action_recognition/data/action_label_2_idx.json.
"""
BABEL_120 = tuple(" ".join(name.split()) for name in _BABEL.split(","))
BABEL_60 = BABEL_120[:60]
NAMED = {"babel-60": BABEL_60, "babel-120": BABEL_120}
FROM_DATA = "labels"


def find_classes(
    choice: str, names_of_samples: Iterable[tuple[str, ...]], min_samples: int
) -> tuple[str, ...]:
    """Names of the classes, in normal form.

    Args:
        choice: ``babel-60``, ``babel-120``, ``labels``, or a text file with a name on each line.
        names_of_samples: Categories, or labels, of the training split's samples.
        min_samples: With ``labels``: fewest training samples of a class.

    Raises:
        UserError: If there are fewer than two, or the file cannot be used.
    """
    if choice in NAMED:
        return NAMED[choice]
    if choice == FROM_DATA:
        counts = Counter(name for names in names_of_samples for name in names)
        found = [name for name, count in counts.most_common() if count >= min_samples]
        source = f"the training split has {len(found)} labels with {min_samples} samples; lower --min-samples"
    else:
        path = Path(choice)
        if not path.is_file():
            raise UserError(
                f"--classes {choice} is none of {', '.join(NAMED)} and {FROM_DATA}, and no file of names"
            )
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise UserError(f"--classes {path} is no UTF-8 text: {error}") from None
        found = list(dict.fromkeys(name for line in lines if (name := normalise_label(line))))
        source = f"{path} names {len(found)} classes; write one on each line"
    if len(found) < 2:
        raise UserError(f"recognition needs two classes or more: {source}")
    return tuple(sorted(found) if choice == FROM_DATA else found)
