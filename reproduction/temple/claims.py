"""The paper's claims, the controls that they need, and those of an arm of our own."""

from reproduction.claims import Claim

OWN = "large_chosen"
CONTROLS = {"chosen_sft": "SFT on chosen", "sft_x4": "SFT on 4 x data"}
FINE = {"prefer_adjacent": "neighbours swapped: ", "exact": "all in order: "}  # finer than order
CLAIMS = (
    Claim("paper", "DPO before SFT beats SFT alone", "temple", "sft"),
    Claim("paper", "DPO before SFT beats SFT before DPO", "temple", "sft_dpo"),
    Claim("paper", "SFT before DPO beats SFT alone", "sft_dpo", "sft"),
    Claim("paper", "easy to hard beats all levels mixed", "temple", "mixed"),
    Claim("paper", "easy to hard beats hard to easy", "temple", "hard_to_easy"),
    Claim("paper", "easy to hard beats level r16 alone", "temple", "r16"),
    Claim("paper", "easy to hard beats level r8 alone", "temple", "r8"),
    Claim("paper", "easy to hard beats level r4 alone", "temple", "r4"),
    Claim("paper", "easy to hard beats level r2 alone", "temple", "r2"),
    Claim("paper", "own pairs beat another model's", "temple", "other_model"),
    Claim("control", "preferring beats SFT on the same chosen texts", "temple", "chosen_sft"),
    Claim("control", "DPO before SFT beats SFT on 4 x the data", "temple", "sft_x4"),
    Claim("control", "the SFT term in DPO's loss helps", "temple", "no_sft_term"),
    Claim("control", "leaving repeated pairs out helps", "distinct", "temple"),
    *(
        Claim("control", f"{measure}DPO before SFT beats {other}", "temple", arm, metric)
        for metric, measure in FINE.items()
        for arm, other in {"sft": "SFT alone", **CONTROLS}.items()
    ),
    *(
        Claim("own", f"{measure}many chosen texts in large batches beat {other}", OWN, arm, metric)
        for metric, measure in {"order": "", **FINE}.items()
        for arm, other in CONTROLS.items()
    ),
)
