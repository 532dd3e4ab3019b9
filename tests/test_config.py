"""Training settings: recipes, None, and what is refused."""

import json
from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

from geo_p2p.card import RECIPES, TrainConfig
from geo_p2p.card.config import CHOICES, WEIGHTS
from geo_p2p.errors import ModelError

# Isola et al. 2017, sections 3.2 and 6, and the authors' code.
PAPER = {
    "epochs": 200,
    "batch_size": 1,
    "flat": 0.5,
    "decay": "epoch",
    "generator": "unet",
    "norm": "instance",
    "d_norm": "same",
    "scales": 1,
    "lr_d": None,
    "d_augment": "none",
    "gradient_weight": 0.0,
    "ssim_weight": 0.0,
    "feature_weight": 0.0,
    "gan_weight": 1.0,
    "ema": 0.0,
    "detail": 0,
    "lr": 2e-4,
    "beta1": 0.5,
    "beta2": 0.999,
    "pixel_loss": "l1",
    "pixel_weight": 100.0,
    "halvings": 8,
    "ngf": 64,
    "ndf": 64,
    "layers": 3,
    "dropout": 0.5,
    "test_dropout": True,
    "gan": "bce",
    "jitter": 30,
    "augment": "mirror",
}


def test_the_paper_s_recipe_is_that_of_the_paper() -> None:
    settings = TrainConfig.of("paper").to_json()
    assert {name: settings[name] for name in PAPER} == PAPER


def test_the_default_recipe_is_the_defaults() -> None:
    assert TrainConfig.of() == TrainConfig.of("seamless") == TrainConfig()


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_changes_what_it_names_and_nothing_else(recipe: str) -> None:
    settings = TrainConfig.of(recipe).to_json()
    assert settings == {**TrainConfig().to_json(), **RECIPES[recipe], "recipe": recipe}


@pytest.mark.parametrize("recipe", RECIPES)
def test_none_leaves_a_setting_to_the_recipe(recipe: str) -> None:
    everything = {field.name: None for field in fields(TrainConfig) if field.name != "recipe"}
    assert TrainConfig.of(recipe, **everything) == TrainConfig.of(recipe)


def test_what_is_given_wins_over_the_recipe_also_where_it_is_false() -> None:
    config = TrainConfig.of("paper", epochs=7, dropout=0.0, test_dropout=False, jitter=0)
    assert (config.epochs, config.dropout, config.test_dropout, config.jitter) == (7, 0, False, 0)
    assert config.halvings == 8


def test_a_backbone_alone_means_the_generator_that_has_one() -> None:
    config = TrainConfig.of("paper", backbone="resnet50")
    assert (config.generator, config.backbone) == ("encoder", "resnet50")
    assert TrainConfig.of(backbone="resnet50", generator="unet").generator == "unet"


def test_settings_are_plain_json_and_come_back_equal() -> None:
    config = TrainConfig.of("paper", seed=7, device="cuda:1")
    assert TrainConfig(**json.loads(json.dumps(config.to_json(), allow_nan=False))) == config


def test_settings_and_recipes_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        TrainConfig().lr = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        RECIPES["paper"]["epochs"] = 1  # type: ignore[index]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"recipe": "cyclegan"}, "seamless, paper"),
        ({"learning_rate": 1e-3, "momentum": 1}, "learning_rate, momentum"),
        *(
            ({name: "best"}, f"{name} is 'best': choose one of")
            for name in CHOICES
            if name != "recipe"
        ),
        *(
            ({name: 0}, f"{name} is 0: give at least 1")
            for name in ("epochs", "batch_size", "halvings", "ngf", "ndf", "scales")
        ),
        *(
            ({name: -1}, f"{name} is -1: give at least 0")
            for name in ("blocks", "layers", "jitter", "seed", *WEIGHTS)
        ),
        *(
            ({name: 1.5}, f"{name} is 1.5: give 0 to 1")
            for name in ("beta1", "beta2", "flat", "dropout")
        ),
        ({"lr": 0}, "lr is 0"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"lr_d": -1e-4}, "lr_d is -0.0001: give a number above 0"),
        ({"backbone_weights": "a.pth"}, "are for the generator 'encoder', not 'unet'"),
    ],
    ids=str,
)
def test_settings_no_training_can_have_are_refused_in_one_line(
    settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ModelError) as caught:
        TrainConfig.of(**settings)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_recipe_that_does_not_exist_is_refused_however_it_is_named() -> None:
    with pytest.raises(ModelError, match="recipe is 'x'"):
        TrainConfig(recipe="x")
