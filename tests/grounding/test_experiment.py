"""Experiments by name: both families of names, overrides, and mistakes in them."""

from dataclasses import replace

import pytest

from grounding.training.experiment import compose, names, recipes
from tools.errors import UserError

# Stage, LLM's checkpoint, fusion, devices, machines, epochs, batch, batches a step, precision.
RECIPES = {
    "SF_blip2flant5xl_videoinstruct": ("sf", "blip2-flan-t5-xl", "concat", 4, 1, 2, 2, 1, "bf16"),
    "SF_instructblipvicuna7b_videoinstruct": (
        *("sf", "instructblip-vicuna-7b", "concat"),
        *(4, 1, 1, 1, 1, "32"),
    ),
    "SF_instructblipflant5xl_videoinstruct": (
        *("sf", "instructblip-flan-t5-xl", "concat"),
        *(4, 1, 1, 2, 1, "bf16"),
    ),
    "TG_blip2flant5xl_videoinstruct": ("tg", "blip2-flan-t5-xl", "concat", 1, 1, 3, 32, 1, "32"),
    "blip2flant5xl_ivinstruct": ("iv", "blip2-flan-t5-xl", "mean", 4, 1, 3, 4, 1, "32"),
    "instructblipvicuna7b_ivinstruct": (
        *("iv", "instructblip-vicuna-7b", "mean"),
        *(4, 2, 3, 2, 8, "bf16"),
    ),
    "blip2flant5xl_ivtinstruct": ("ivt", "blip2-flan-t5-xl", "mean", 4, 1, 3, 4, 1, "bf16"),
    "instructblipvicuna7b_ivtinstruct": (
        *("ivt", "instructblip-vicuna-7b", "mean"),
        *(4, 1, 2, 1, 4, "bf16"),
    ),
    "blip2flant5xl_videoinstruct": ("video", "blip2-flan-t5-xl", "concat", 4, 1, 2, 8, 1, "32"),
    "instructblipflant5xl_videoinstruct": (
        *("video", "instructblip-flan-t5-xl", "concat"),
        *(4, 1, 1, 4, 1, "32"),
    ),
    "instructblipvicuna7b_videoinstruct": (
        *("video", "instructblip-vicuna-7b", "concat"),
        *(4, 1, 1, 2, 1, "32"),
    ),
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_what_its_authors_ran(recipe):
    experiment = compose([f"experiment=VideoTGB_{recipe}"])
    model, trainer = experiment.model, experiment.trainer
    assert (
        experiment.stage,
        model.model_name_or_path.removeprefix("Salesforce/"),
        model.fusion,
        trainer.devices,
        trainer.num_nodes,
        trainer.max_epochs,
        experiment.data.batch_size,
        trainer.accumulate_grad_batches,
        trainer.precision,
    ) == RECIPES[recipe]
    assert (experiment.seed, experiment.data.nframe) == (43, 4)
    adam = {"name": "adam", "lr": 5e-5, "weight_decay": 0.05, "betas": [0.9, 0.999], "eps": 1e-8}
    adamw = {"name": "adamw", "lr": 5e-5, "weight_decay": 0.01, "betas": [0.9, 0.98], "eps": 1e-8}
    assert vars(model.optimizer) == (adam if experiment.stage in ("tg", "sf") else adamw)


def test_both_families_of_names_are_one_recipe():
    assert sorted(RECIPES) == recipes()
    assert len(names()) == 2 * len(RECIPES)
    for recipe in recipes():
        ours, older = (
            compose([f"experiment={prefix}_{recipe}"]) for prefix in ("VideoTGB", "LSTP")
        )
        assert ours.experiment == f"VideoTGB_{recipe}"
        assert older == replace(ours, experiment=f"LSTP_{recipe}")


def test_the_command_line_wins_over_tiny_and_tiny_over_the_recipe():
    name = "experiment=LSTP_instructblipvicuna7b_ivtinstruct"
    plain, tiny = compose([name]), compose([name, "tiny=true"])
    assert (plain.trainer.devices, tiny.trainer.devices) == (4, 1)
    words = ["trainer.max_steps=7", name, "tiny=true", "model.optimizer.lr=1e-5", "data.nframe=8"]
    experiment = compose([*words, "path.output_dir=/a/b=c", "model.optimizer.betas=[0.8, 0.9]"])
    assert experiment.trainer.max_steps == 7
    assert experiment.trainer.accelerator == "cpu"
    assert experiment.model.optimizer.lr == 1e-5
    assert experiment.model.optimizer.betas == [0.8, 0.9]
    assert experiment.data.nframe == 8
    assert experiment.path.output_dir == "/a/b=c"
    assert compose([name, "data.spans=auto", "data.spans=null"]).data.spans is None
    assert compose([name, "+seed=7"]).seed == 7
    assert compose([name, "trainer.precision=32"]).trainer.precision == "32"


@pytest.mark.parametrize(
    ("words", "mistake"),
    [
        ([], "experiment=NAME is missing; there are: VideoTGB_SF_blip2flant5xl_videoinstruct, "),
        (
            ["experiment=VideoTGB_blip2flant5_ivinstruct"],
            "no experiment 'VideoTGB_blip2flant5_ivinstruct'; did you mean"
            " 'VideoTGB_blip2flant5xl_ivinstruct'?",
        ),
        (["experiment=blip2flant5xl_ivinstruct"], "no experiment 'blip2flant5xl_ivinstruct'; did"),
        (["experiment=VideoTGB_tiny"], "no experiment 'VideoTGB_tiny'"),
        (
            ["experiment=eval_LSTP_instructblipvicuna7b_ivinstruct"],
            "python -m grounding.answer DATASET WORLD_SIZE --split test --checkpoint"
            " exp/LSTP_instructblipvicuna7b_ivinstruct",
        ),
        (["data.nfrane=4"], "there is no key 'data.nfrane'; did you mean 'data.nframe'?"),
        (
            ["model.bridge.layrs=2"],
            "key 'model.bridge.layrs'; did you mean 'model.bridge.layers",
        ),
        (["nframe=4"], "the command line: there is no key 'nframe'; did you mean 'data.nframe'?"),
        (["data.nframe.x=4"], "the command line: data.nframe: Value '{'x': 4}' of type 'DictConf"),
        (["data=4"], "the command line: a group of keys takes no value: Merge error: int is not"),
        (["data.nframe=four"], "data.nframe: Value 'four' of type 'str' could not be converted to"),
        (["data.nframe=4.5"], "data.nframe: Value '4.5' of type 'float' could not be converted to"),
        (["data.nframe=null"], "data.nframe: Incompatible value 'None' for field of type 'int'"),
        (["model.optimizer.lr=fast"], "model.optimizer.lr: Value 'fast' of type 'str' could not"),
        (["model.optimizer.betas=[1,a]"], "model.optimizer.betas[1]: Value 'a' of type 'str'"),
        (["tiny=few"], "tiny: Value 'few' is not a valid bool"),
        (["path.output_dir=${path}/a"], "the command line: path.output_dir: "),
        (["data.nframe"], "'data.nframe' is no override: write key=value, such as data.nframe=4"),
        (["path.output_dir=[a"], "'path.output_dir=[a': the value is no YAML"),
    ],
)
def test_a_mistake_is_one_line(words, mistake):
    if words and not words[0].startswith("experiment="):
        words = ["experiment=VideoTGB_blip2flant5xl_ivinstruct", *words]
    with pytest.raises(UserError) as error:
        compose(words)
    assert mistake in str(error.value)
    assert "\n" not in str(error.value)
