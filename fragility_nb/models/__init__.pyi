# Made by tools/public_names.py.
from . import (
    activations, answers, attention, augment, checkpoints, create, foreign, gradients, networks, norms, resume,
    steps, table, training, wrap,
)
from .wrap import Normalized, SomeClasses, model_name, model_hash, evaluating
from .answers import BLOCK, forward_in_blocks, predict, match_data, among
from .networks import (
    MODELS, Architecture, PlainCNN, ShortcutBlock, CifarResNet, LeNet, conv_module, InceptionModule,
    residual_module, ModuleNet,
)
from .norms import NoNorm, swap_norm
from .checkpoints import save_checkpoint, read_safetensors, checkpoint_facts
from .create import list_models, find_architecture, least_size, create_model, check_says, load_checkpoint
from .table import (
    model_table, channel_stats, model_for, sizes_of, open_model, model_question, is_own_code, network_titles,
)
from .activations import (
    WEIGHTED, Layer, attention_parts, part_rows, is_attention, find_layers, layer_table, pick_layers,
    record_activations, unit_table, kernel_weights,
)
from .augment import AUGMENTS, image_uniform, RandomCrop, HorizontalFlip, as_augment, epoch_order
from .steps import OPTIMIZERS, SCHEDULES
from .resume import (
    own_answers, describe_model, question_of, answers_text, answers_differ, snapshot_path, list_snapshots,
    snapshot_epochs,
)
from .training import StopTraining, fit, fit_inits, init_snapshots, kept_snapshots, train_model

__all__ = [
    "Normalized", "SomeClasses", "model_name", "model_hash", "evaluating", "BLOCK", "forward_in_blocks",
    "predict", "match_data", "among", "MODELS", "Architecture", "PlainCNN", "ShortcutBlock", "CifarResNet",
    "LeNet", "conv_module", "InceptionModule", "residual_module", "ModuleNet", "NoNorm", "swap_norm",
    "save_checkpoint", "read_safetensors", "checkpoint_facts", "list_models", "find_architecture", "least_size",
    "create_model", "check_says", "load_checkpoint", "model_table", "channel_stats", "model_for", "sizes_of",
    "open_model", "model_question", "is_own_code", "network_titles", "WEIGHTED", "Layer", "attention_parts",
    "part_rows", "is_attention", "find_layers", "layer_table", "pick_layers", "record_activations", "unit_table",
    "kernel_weights", "AUGMENTS", "image_uniform", "RandomCrop", "HorizontalFlip", "as_augment", "epoch_order",
    "OPTIMIZERS", "SCHEDULES", "own_answers", "describe_model", "question_of", "answers_text", "answers_differ",
    "snapshot_path", "list_snapshots", "snapshot_epochs", "StopTraining", "fit", "fit_inits", "init_snapshots",
    "kept_snapshots", "train_model",
]
