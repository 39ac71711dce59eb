# Made by tools/public_names.py.
from . import (
    activations,
    answers,
    augment,
    checkpoints,
    create,
    gradients,
    networks,
    norms,
    resume,
    steps,
    table,
    training,
    wrap,
)
from .activations import WEIGHTED, Layer, find_layers, kernel_weights, layer_table, record_activations, unit_table
from .answers import BLOCK, forward_in_blocks, match_data, predict
from .augment import AUGMENTS, HorizontalFlip, RandomCrop, as_augment, epoch_order, image_uniform
from .checkpoints import checkpoint_facts, read_safetensors, save_checkpoint
from .create import create_model, find_architecture, least_size, list_models, load_checkpoint
from .networks import (
    MODELS,
    Architecture,
    CifarResNet,
    InceptionModule,
    LeNet,
    ModuleNet,
    PlainCNN,
    ShortcutBlock,
    conv_module,
    residual_module,
)
from .norms import NoNorm, swap_norm
from .resume import (
    answers_differ,
    answers_text,
    describe_model,
    list_snapshots,
    own_answers,
    question_of,
    snapshot_epochs,
    snapshot_path,
)
from .steps import OPTIMIZERS, SCHEDULES
from .table import channel_stats, model_table
from .training import StopTraining, fit, fit_inits, init_snapshots, train_model
from .wrap import Normalized, evaluating, model_hash, model_name

__all__ = [
    "Normalized", "model_name", "model_hash", "evaluating", "BLOCK", "forward_in_blocks", "predict", "match_data",
    "MODELS", "Architecture", "PlainCNN", "ShortcutBlock", "CifarResNet", "LeNet", "conv_module",
    "InceptionModule", "residual_module", "ModuleNet", "NoNorm", "swap_norm", "save_checkpoint",
    "read_safetensors", "checkpoint_facts", "list_models", "find_architecture", "least_size", "create_model",
    "load_checkpoint", "model_table", "channel_stats", "WEIGHTED", "Layer", "find_layers", "layer_table",
    "record_activations", "unit_table", "kernel_weights", "AUGMENTS", "image_uniform", "RandomCrop",
    "HorizontalFlip", "as_augment", "epoch_order", "OPTIMIZERS", "SCHEDULES", "own_answers", "describe_model",
    "question_of", "answers_text", "answers_differ", "snapshot_path", "list_snapshots", "snapshot_epochs",
    "StopTraining", "fit", "fit_inits", "init_snapshots", "train_model",
]
