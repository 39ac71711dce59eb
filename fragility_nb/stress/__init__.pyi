# Made by tools/public_names.py.
from . import attack_check, attacks, control, corruptions, filters, minimal, noise_blur, path, stressors, weather
from .attack_check import AttackWarning, check_attack
from .attacks import (
    ATTACKS,
    FGSM,
    NORMS,
    PGD,
    Attack,
    RandomNoise,
    attack_images,
    check_unit,
    cross_entropy,
    frozen_parameters,
    loss_gradient,
)
from .control import MATCHES, ControlPlan, RandomOrders, random_ranks, weight_groups
from .corruptions import (
    COMMON,
    EXTRA,
    JPEG,
    STRESSORS,
    Brightness,
    Contrast,
    Elastic,
    Pixelate,
    Saturate,
    common_corruptions,
)
from .filters import FILTERS, FilterPlan, baseline, high_pass, low_pass, magnitude, plan_filter, pulse, threshold_grid
from .minimal import SEARCHES, FGSMSearch, GradientWalk, find_epsilon, minimal_perturbation
from .noise_blur import (
    CONSTANTS,
    Corruption,
    DefocusBlur,
    GaussianBlurC,
    GaussianNoiseC,
    GlassBlur,
    ImpulseNoise,
    MotionBlur,
    ShotNoise,
    SpeckleNoise,
    ZoomBlur,
    constants_for,
)
from .path import between_nodes, control_steps, path_length
from .stressors import (
    BARTSCHAT_BLUR,
    BARTSCHAT_NOISE,
    BARTSCHAT_SIGMAS,
    Chain,
    GaussianBlur,
    GaussianNoise,
    Hue,
    Occlusion,
    Perspective,
    Rotation,
    Scale,
    Shear,
    Stressor,
    Translation,
    apply_stress,
    border_index,
    gaussian_filter,
    pad_border,
    stress_id,
)
from .weather import Fog, Frost, Rain, Snow, Spatter

__all__ = [
    "BARTSCHAT_SIGMAS", "BARTSCHAT_NOISE", "BARTSCHAT_BLUR", "Stressor", "GaussianNoise", "stress_id",
    "apply_stress", "border_index", "pad_border", "gaussian_filter", "GaussianBlur", "Rotation", "Translation",
    "Scale", "Shear", "Perspective", "Occlusion", "Hue", "Chain", "CONSTANTS", "constants_for", "Corruption",
    "GaussianNoiseC", "ShotNoise", "ImpulseNoise", "SpeckleNoise", "GaussianBlurC", "DefocusBlur", "GlassBlur",
    "MotionBlur", "ZoomBlur", "Snow", "Frost", "Fog", "Rain", "Spatter", "STRESSORS", "COMMON", "EXTRA",
    "Brightness", "Contrast", "Saturate", "Elastic", "Pixelate", "JPEG", "common_corruptions", "ATTACKS", "NORMS",
    "Attack", "check_unit", "cross_entropy", "FGSM", "PGD", "RandomNoise", "frozen_parameters", "attack_images",
    "loss_gradient", "AttackWarning", "check_attack", "SEARCHES", "FGSMSearch", "GradientWalk",
    "minimal_perturbation", "find_epsilon", "FILTERS", "high_pass", "low_pass", "pulse", "magnitude",
    "threshold_grid", "FilterPlan", "plan_filter", "baseline", "path_length", "control_steps", "between_nodes",
    "MATCHES", "weight_groups", "random_ranks", "RandomOrders", "ControlPlan",
]
