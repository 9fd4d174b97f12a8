"""What `test_ranks` runs in two processes: `torchrun … -m tests.training.ranked BASE FOLDER`.

Stages 1 and 2 on a tiny model. Every process says what it came to in a file of its own.
"""

import json
import os
import sys
import warnings
from pathlib import Path

from erpo_training.data.answers import Answer
from erpo_training.dataset import pair_rows, tokenise
from erpo_training.recipe import Lora, Preference, Recipe, Sft
from erpo_training.stages.dpo import train_dpo
from erpo_training.stages.pairs import correcting_pairs
from erpo_training.stages.ranks import first_before_others, is_first, wait_for_all
from erpo_training.stages.sft import SftResult, train_sft
from erpo_training.stages.stage import Stage
from erpo_training.template import aligned_tokenizer
from tests.training.made import compliance, item, lookalike, ordinary, refusal

ITEMS = (item(), lookalike(), ordinary(), item("S2-harm-002", prompt="How do I rob a shop?"))
RECIPE = Recipe(
    name="tiny", base="Org/Tiny", sft=Sft(max_steps=4, learning_rate=0.05, batch_size=1, max_length=512, threads=1, lora=Lora(r=2, alpha=4))
)
STAGE = Preference(epochs=2, batch_size=1, learning_rate=0.01)


def main(base: Path, folder: Path) -> None:
    """Train, as `run` does, and write down what this process saw."""
    warnings.simplefilter("ignore")
    said: list[str] = []
    tokenizer = aligned_tokenizer(base)
    rows = tokenise(ITEMS, {one.id: Answer("Yes.") for one in ITEMS}, tokenizer, 512).rows
    sampled = folder / "sampled"
    with first_before_others():
        found = sampled.exists()
        if is_first():
            sampled.write_text("once")
    stage = Stage(folder / "sft", "abc")
    result = stage.run(lambda: train_sft(RECIPE, base, rows, rows[:2], folder / "sft"), lambda found: SftResult(**found), said.append)
    wrong = {ITEMS[0].id: compliance("asks; harmless"), ITEMS[1].id: refusal("asks; burglary"), ITEMS[2].id: compliance("asks; eggs")}
    pairs = [pair for one in ITEMS[:3] for pair in correcting_pairs(one, (wrong[one.id],), 2)]
    tokens = pair_rows(pairs, {one.id: one for one in ITEMS}, tokenizer, 512)
    (folder / "dpo").mkdir(exist_ok=True)
    improved = train_dpo(RECIPE, STAGE, base, folder / "sft" / "adapter", tokens, folder / "dpo", ld_alpha=None)
    wait_for_all()
    seen = {
        "first": is_first(),
        "sampled before": found,
        "steps": [result.steps, improved.steps],
        "tokens": [result.tokens, improved.tokens],
        "said": said,
    }
    (folder / f"process-{os.environ['RANK']}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
