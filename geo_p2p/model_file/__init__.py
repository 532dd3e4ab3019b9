"""A trained model on disk: a folder with an .emd card and safetensors weights; no pickle."""

from geo_p2p.model_file.loading import (
    load_card,
    load_discriminator,
    load_generator,
    load_model,
)
from geo_p2p.model_file.package import opened, write_package
from geo_p2p.model_file.places import find_model, model_folder
from geo_p2p.model_file.saving import save_model
from geo_p2p.model_file.translator import Translator
from geo_p2p.model_file.weights import read_tensors, write_tensors

__all__ = [
    "Translator",
    "find_model",
    "load_card",
    "load_discriminator",
    "load_generator",
    "load_model",
    "model_folder",
    "opened",
    "read_tensors",
    "save_model",
    "write_package",
    "write_tensors",
]
