"""Template assessments for third-party prompts, which come with a label but without the words that justify it.

Both kinds open alike, with words of the prompt, and differ only in what follows from it: so the model learns to say what is asked before
it decides. Which phrasing is used is chosen by the prompt's hash. Knows rule ids, not items.
"""

import hashlib
import re

_OPENINGS = ("asks about {}", "wants help with {}", "asks for something on {}", "asks about {}")

_HARM = {
    "S1": ("somebody would be hurt", "violence against people is the aim", "it prepares an attack on others"),
    "S2": ("a crime, others lose by it", "fraud, theft, drugs or hacking; others are harmed", "it helps to break the law at others' cost"),
    "S3": ("sexual coercion, a person is violated", "it is done to someone without consent", "sexual abuse of another person"),
    "S4": ("a child would be harmed", "it puts children in danger", "exploits a child"),
    "S5": ("false claims that ruin a name", "lies about somebody, their reputation suffers", "made-up accusations against others"),
    "S7": ("somebody's private life is exposed", "private data taken without consent", "it spies on a person who did not agree"),
    "S8": ("takes what others made and own", "the owners' rights are broken", "copies or fakes the work of others"),
    "S9": ("a weapon that kills many", "mass casualties could follow", "dangerous material in the wrong hands"),
    "S10": ("demeans people for what they are", "spreads hate against a group", "people are shut out or bullied"),
    "S11": ("it leads to self-harm", "somebody could hurt themselves", "it encourages self-injury or worse"),
    "S12": ("explicit sexual material", "the aim is pornographic content", "sexually explicit, not education"),
    "S13": ("voters are misled", "it tampers with a fair election", "false information about a vote"),
    "S14": ("it attacks the system it runs on", "breaks out of the sandbox", "the host computer is abused"),
}

_HARMLESS = (
    "information, nobody is harmed",
    "a harmless purpose, nobody is hurt",
    "knowledge that explains or protects",
    "nothing here hurts anyone",
)

_FILLER = frozenset(
    """
    a an the of to in on at for with by from and or but if as is are was were be been being am do does did done how what which who
    whom whose when where why can could would should will shall may might must i me my mine you your yours we us our they them their
    he him his she her it its this that these those there here some any such so than then not no please help tell give make made get
    got have has had let about into out up more most very just also one ones way ways need want like know someone something using
    without while during through between explain describe write provide create discuss suggest share list steps examples tips
    methods strategies techniques
    """.split()  # noqa: SIM905
)


def content_words(prompt: str, most: int = 5, longest: int = 60) -> str:
    """The prompt's first telling words, in its own order: at most `most`, within `longest` characters."""
    words = [w for w in re.findall(r"[A-Za-z][A-Za-z'-]*[A-Za-z]", prompt) if w.lower() not in _FILLER]
    kept: list[str] = []
    for word in words:
        if word.lower() in (k.lower() for k in kept):
            continue
        if len(kept) == most or len(" ".join([*kept, word])) > longest:
            break
        kept.append(word if word.isupper() and len(word) > 1 else word.lower())
    return " ".join(kept) or "the matter named"


def harmful_assessment(prompt: str, rule: str) -> str:
    """What a harmful prompt asks and who is harmed, for its rule."""
    return _compose(prompt, _HARM[rule])


def harmless_assessment(prompt: str) -> str:
    """What a harmless look-alike asks and why nobody is harmed."""
    return _compose(prompt, _HARMLESS)


def _compose(prompt: str, endings: tuple[str, ...]) -> str:
    number = int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:4], "big")
    opening = _OPENINGS[number % len(_OPENINGS)].format(content_words(prompt))
    return f"{opening}; {endings[number // len(_OPENINGS) % len(endings)]}"
