"""Flow at two pictures a second tells the six actions of the toy world apart."""

import numpy as np
import pytest
import torch
from torch import nn

from tools.features.flow import Dis, video_flow
from toyworld.language import ACTIONS
from toyworld.render import Film
from toyworld.stories import RATE, plan_story

FLOW_FPS = 2
SHOTS = 24  # a story
PAIRS = 3  # of pictures that lie in the same shot of two seconds
SCALE = 16  # the mean speed is 0.03 sides a second


@pytest.fixture(scope="module")
def shots(make_video, tmp_path_factory):
    """(n, 3, 2, 14, 14) flow and (n,) actions of the shots of some stories."""
    folder = tmp_path_factory.mktemp("stories")

    def load(seed, stories):
        flows, actions = [], []
        for number in range(stories):
            plan = plan_story(seed, number, SHOTS)
            film, step = Film(plan), RATE // FLOW_FPS
            frames = [
                film.grainy(film.picture(place, frame))
                for place, shot in enumerate(plan.shots)
                for frame in range(shot.start, shot.end + 1, step)
            ]
            size = (plan.width, plan.height)
            path = folder / f"{seed}_{number}.mp4"
            video = make_video(path, size=size, rate=FLOW_FPS, frames=frames)
            flow = video_flow(video, Dis(), FLOW_FPS).normalised()
            flows += [flow[start : start + PAIRS] for start in range(0, 4 * SHOTS, 4)]
            actions += [ACTIONS.index(shot.event.action) for shot in plan.shots]
        return torch.from_numpy(np.stack(flows)), torch.tensor(actions)

    return load


class Probe(nn.Module):
    """The method's token, a weighted mean over the patches of one flow, and a small classifier."""

    def __init__(self):
        super().__init__()
        self.patches, self.weights = nn.Conv2d(2, 24, 2, 2), nn.Linear(49, 1)
        self.classifier = nn.Sequential(
            nn.LayerNorm(24), nn.Linear(24, 128), nn.GELU(), nn.Linear(128, len(ACTIONS))
        )

    def forward(self, flow):
        """(n, 3, 2, 14, 14) -> (n, 3, actions) log probabilities."""
        tokens = self.weights(self.patches(flow.flatten(0, 1)).flatten(2)).squeeze(-1)
        return self.classifier(tokens).log_softmax(-1).unflatten(0, flow.shape[:2])


def test_a_probe_of_the_token_names_the_action_of_held_out_shots(shots):
    flow, actions = shots(seed=11, stories=8)
    torch.manual_seed(0)
    probe, steps = Probe(), 300
    optimizer = torch.optim.AdamW(probe.parameters(), weight_decay=0.5)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=steps)
    for _ in range(steps):
        batch = torch.randint(len(flow), (64,))
        scores = probe(SCALE * flow[batch]).flatten(0, 1)
        loss = nn.functional.nll_loss(scores, actions[batch].repeat_interleave(PAIRS))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    flow, actions = shots(seed=999, stories=2)
    with torch.inference_mode():
        scores = probe(SCALE * flow)
    one_pair = (scores.argmax(-1) == actions[:, None]).float().mean()
    whole_shot = (scores.sum(1).argmax(-1) == actions).float().mean()
    assert one_pair >= 0.75 and whole_shot >= 0.95, (one_pair, whole_shot)
