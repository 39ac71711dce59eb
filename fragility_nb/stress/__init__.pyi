# Made by tools/public_names.py.
from . import (
    adversarial, attack_check, attacks, control, corruptions, filters, minimal, noise_blur, path, stressors,
    weather,
)
from .stressors import (
    BARTSCHAT_SIGMAS, BARTSCHAT_NOISE, BARTSCHAT_BLUR, Stressor, GaussianNoise, stress_id, apply_stress,
    border_index, pad_border, gaussian_filter, GaussianBlur, Rotation, Translation, Scale, Shear, Perspective,
    Occlusion, Hue, Chain,
)
from .noise_blur import (
    CONSTANTS, constants_for, Corruption, GaussianNoiseC, ShotNoise, ImpulseNoise, SpeckleNoise, GaussianBlurC,
    DefocusBlur, GlassBlur, MotionBlur, ZoomBlur,
)
from .weather import Snow, Frost, Fog, Rain, Spatter
from .corruptions import (
    STRESSORS, COMMON, EXTRA, Brightness, Contrast, Saturate, Elastic, Pixelate, JPEG, common_corruptions,
    as_stressors,
)
from .attacks import (
    ATTACKS, NORMS, Attack, check_unit, cross_entropy, FGSM, PGD, RandomNoise, frozen_parameters, BlockAttack,
    ForeignAttack, as_attack, find_attack, attack_of_size, AutoAttack, attack_images,
)
from .attack_check import AttackWarning, loss_gradient, overstated_sign, beside_attack, check_attack
from .minimal import SEARCHES, FGSMSearch, GradientWalk, minimal_perturbation, find_epsilon
from .filters import FILTERS, high_pass, low_pass, pulse, magnitude, threshold_grid, FilterPlan, plan_filter, baseline
from .path import path_length, control_steps, between_nodes
from .control import MATCHES, weight_groups, random_ranks, RandomOrders, ControlPlan
from .adversarial import Adversarial

__all__ = [
    "BARTSCHAT_SIGMAS", "BARTSCHAT_NOISE", "BARTSCHAT_BLUR", "Stressor", "GaussianNoise", "stress_id",
    "apply_stress", "border_index", "pad_border", "gaussian_filter", "GaussianBlur", "Rotation", "Translation",
    "Scale", "Shear", "Perspective", "Occlusion", "Hue", "Chain", "CONSTANTS", "constants_for", "Corruption",
    "GaussianNoiseC", "ShotNoise", "ImpulseNoise", "SpeckleNoise", "GaussianBlurC", "DefocusBlur", "GlassBlur",
    "MotionBlur", "ZoomBlur", "Snow", "Frost", "Fog", "Rain", "Spatter", "STRESSORS", "COMMON", "EXTRA",
    "Brightness", "Contrast", "Saturate", "Elastic", "Pixelate", "JPEG", "common_corruptions", "as_stressors",
    "ATTACKS", "NORMS", "Attack", "check_unit", "cross_entropy", "FGSM", "PGD", "RandomNoise",
    "frozen_parameters", "BlockAttack", "ForeignAttack", "as_attack", "find_attack", "attack_of_size",
    "AutoAttack", "attack_images", "AttackWarning", "loss_gradient", "overstated_sign", "beside_attack",
    "check_attack", "SEARCHES", "FGSMSearch", "GradientWalk", "minimal_perturbation", "find_epsilon", "FILTERS",
    "high_pass", "low_pass", "pulse", "magnitude", "threshold_grid", "FilterPlan", "plan_filter", "baseline",
    "path_length", "control_steps", "between_nodes", "MATCHES", "weight_groups", "random_ranks", "RandomOrders",
    "ControlPlan", "Adversarial",
]
