"""docs/findings.md: every number that it quotes is a claim's, of five base models or seeds."""

import json
import re

from tools.store.dataset import REPOSITORY

EFFECT = re.compile(r"[+-]\d\.\d{3}\s+\[[+-]\d\.\d{3},\s+[+-]\d\.\d{3}\]")
NUMBER = re.compile(r"[+-]?\d\.\d{3}")


def test_every_effect_is_one_of_the_claims():
    claims = json.loads((REPOSITORY / "reproduction" / "results" / "claims.json").read_text())
    known = {
        f"{claim['effect']:+.3f} [{claim['low']:+.3f}, {claim['high']:+.3f}]"
        for claim in claims
        if claim["n"] >= 5
    }
    page = (REPOSITORY / "docs" / "findings.md").read_text()
    effects = [" ".join(effect.split()) for effect in EFFECT.findall(page)]
    assert len(effects) > 10 and set(effects) <= known
    assert len(NUMBER.findall(page)) == 3 * len(effects)  # it quotes nothing else to three digits
