"""Right calls of every public function: with which valid arguments it is called, on a tiny network and ten images.

`test_wrong_calls.py` replaces these arguments, one at a time, by values that cannot be meant.
"""
import importlib
from functools import cache
from pathlib import Path

import numpy as np
import torch
import xarray as xr



# Valid arguments, made once: a tiny network, ten images, small results

def get(name):
    "A public thing by its place: `stress.FGSM`."
    package, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(f"fragility_nb.{package}"), attribute)


@cache
def subject():
    "A small network that knows some digits, and ten images of them."
    data, train = get("data.load_data")("digits", n=10), get("data.load_data")("digits", "train", n=300)
    model = get("models.create_model")("cnn3")
    get("models.fit")(model, train, epochs=2, lr=3e-3, batch_size=30, progress=False, device="cpu")
    return model, data


def model(): return subject()[0]
def other(): return get("models.create_model")("cnn3", seed=1)
def data(): return subject()[1]
def images(): return data().batch(0, 10)
def noise(): return get("stress.GaussianNoise")()
def fgsm(): return get("stress.FGSM")(0.05)


@cache
def stressed():
    return get("measure.stress_sweep")(model(), data(), [noise(), fgsm()], (0, 1, 2), seeds=(0, 1), progress=False)


@cache
def corrupted():
    few = [get("stress.Brightness")("cifar"), get("stress.Contrast")("cifar")]
    return get("measure.stress_sweep")(model(), data(), few, (0, 1, 2, 3, 4, 5), progress=False)


@cache
def filtered():
    return get("measure.filter_sweep")(model(), data(), layers=["conv2", "linear"], thresholds=5, attack=fgsm(),
                                       progress=False)


@cache
def scored(): return get("measure.synaptic_scores")(filtered(), n_boot=100)


@cache
def ladder(): # scores of five layers
    return xr.concat([scored()]*3, "layer").isel(layer=range(5)).assign_coords(layer=list("abcde"))


@cache
def ladders(): return xr.concat([ladder(), ladder()], xr.Variable("epoch", [0, 1]))


@cache
def least(): return get("stress.minimal_perturbation")(model(), data(), progress=False)


@cache
def theta(): return next(model().parameters()).detach()


QUICK = dict(progress=False)
FEW = dict(n_boot=100)
CALLS = {
    # floor: what is called, with which valid arguments; the parameters are those of its signature
    "core.save_result": lambda: dict(result=stressed(), path=scratch() / "result.nc"),
    "core.load_result": lambda: dict(path=get("core.save_result")(stressed(), scratch() / "saved.nc")),
    "core.array_hash": lambda: dict(arrays=dict(a=np.zeros(3))),
    "core.poisson_quantile": lambda: dict(u=torch.rand(3), rate=torch.rand(3)),
    "data.ImageData": lambda: dict(images=images(), labels=data().labels, classes=data().classes,
                                   index=torch.arange(10)),
    "data.LazyImages": lambda: dict(files=[picture()], shape=(1, 8, 8), share=0.5),
    "data.as_data": lambda: dict(data=(images(), data().labels), classes=data().classes),
    "data.channel_moments": lambda: dict(data=data()),
    "data.check_images": lambda: dict(images=images()),
    "data.check_labels": lambda: dict(labels=data().labels, n=10, num_classes=10),
    "data.unit_pixels": lambda: dict(image=images()),
    "data.load_data": lambda: dict(name="digits", n=10, image_size=8, **QUICK),
    "data.load_digits": lambda: dict(split="test"),
    "data.list_corruptions": lambda: dict(name=str(corruptions())),
    "data.data_root": lambda: dict(root="data"),
    "data.cache_folder": lambda: dict(root="data"),
    "data.pick_device": lambda: dict(device="cpu"),
    "models.create_model": lambda: dict(name="cnn3"),
    "models.model_for": lambda: dict(model="cnn3", train=data()),
    "models.predict": lambda: dict(model=model(), data=data()),
    "stress.GaussianNoise": dict, "stress.GaussianBlur": dict, "stress.Rotation": dict, "stress.Translation": dict,
    "stress.Scale": dict, "stress.Shear": dict, "stress.Perspective": dict, "stress.Hue": dict,
    "stress.Occlusion": dict, "stress.RandomNoise": dict, "stress.FGSM": dict, "stress.PGD": dict,
    "stress.Brightness": dict, "stress.Fog": dict,
    "stress.GradientWalk": dict, "stress.FGSMSearch": dict,
    "stress.Chain": lambda: dict(stages=(noise(), get("stress.Rotation")())),
    "stress.apply_stress": lambda: dict(stressor=noise(), x=images(), severity=1., index=range(10)),
    "stress.attack_images": lambda: dict(model=model(), data=data(), attack=fgsm()),
    "stress.check_attack": lambda: dict(model=model(), data=data(), attack=fgsm(), n=8),
    "stress.find_epsilon": lambda: dict(model=model(), data=data(), attack=fgsm(), max_epsilon=0.5, **QUICK),
    "stress.minimal_perturbation": lambda: dict(model=model(), data=data(), **QUICK),
    "stress.loss_gradient": lambda: dict(model=model(), data=data()),
    "stress.plan_filter": lambda: dict(theta=theta(), filter="high_pass", thresholds=4, alpha_range=(0, 1)),
    "stress.threshold_grid": lambda: dict(low=0., high=1., n=3),
    "stress.common_corruptions": dict,
    "stress.high_pass": lambda: dict(theta=theta(), alpha=0.1),
    "stress.low_pass": lambda: dict(theta=theta(), alpha=0.1),
    "stress.pulse": lambda: dict(theta=theta(), alpha=0.1, step=0.1),
    "stress.gaussian_filter": lambda: dict(x=images(), sigma=1.),
    "stress.pad_border": lambda: dict(x=images(), rows=1, cols=1, border="mirror"),
    "stress.cross_entropy": lambda: dict(logits=torch.rand(10, 10), y=data().labels),
    "measure.stress_sweep": lambda: dict(model=model(), data=data(), stressors=[noise()], severities=(0, 1), **QUICK),
    "measure.filter_sweep": lambda: dict(model=model(), data=data(), layers=["conv2"], thresholds=3, **QUICK),
    "measure.synaptic_scores": lambda: dict(result=filtered(), **FEW),
    "measure.relabel": lambda: dict(scores=scored(), band=0.02),
    "measure.score_summary": lambda: dict(scores=scored()),
    "measure.scale_scores": lambda: dict(scores=scored()),
    "measure.auc_difference": lambda: dict(a=stressed(), b=stressed(), **FEW),
    "measure.stress_differences": lambda: dict(a=stressed(), b=stressed(), **FEW),
    "measure.differences_by_baseline": lambda: dict(published=by_baseline("published"), random=by_baseline("random")),
    "measure.init_differences": lambda: dict(a=two_inits(), b=two_inits()),
    "measure.score_differences": lambda: dict(a=filtered(), b=filtered(), **FEW),
    "measure.compactness": lambda: dict(result=filtered()),
    "measure.landscape_similarity": lambda: dict(a=ladder(), b=ladder(), permutations=100),
    "measure.similarity_matrix": lambda: dict(scores=dict(a=ladder(), b=ladder()), permutations=100),
    "measure.score_convergence": lambda: dict(scores=ladders()),
    "measure.depth_trend": lambda: dict(values={"a": [0.8, 0.7], "b": [0.6, 0.5]}, depth={"a": 8, "b": 16}),
    "measure.smallest_fraction": lambda: dict(result=filtered()),
    "measure.relative_performance": lambda: dict(result=filtered()),
    "measure.stress_summary": lambda: dict(result=stressed(), **FEW),
    "measure.calibration": lambda: dict(result=stressed(), **FEW),
    "measure.flip_rate": lambda: dict(result=stressed(), **FEW),
    "measure.minimal_summary": lambda: dict(result=least(), **FEW),
    "measure.corruption_error": lambda: dict(result=corrupted(), **FEW),
    "measure.area_weights": lambda: dict(n=3),
    "measure.label_scores": lambda: dict(low=np.zeros(3), high=np.ones(3)),
    "measure.look_slices": lambda: dict(n=300),
    "measure.interval": lambda: dict(draws=np.random.default_rng(0).random((20, 3))),
    "measure.resampled_means": lambda: dict(x=np.zeros((5, 2)), n_boot=9),
    "measure.count_pairs": lambda: dict(filtered=np.ones((2, 5), bool), unfiltered=np.ones(5, bool)),
    "measure.accuracy_ratio": lambda: dict(pairs=np.ones((2, 4))),
    "measure.ratio_interval": lambda: dict(pairs=np.ones((2, 4))),
    "measure.MixUp": dict, "measure.CutMix": dict,
    "measure.StressPolicy": lambda: dict(stressors=(noise(),), severities=(1., 2.)),
    "measure.WorstOf": lambda: dict(stressors=(noise(),), severities=(1., 2.)),
    "figures.plot_stress": lambda: dict(result=stressed()),
    "figures.plot_stress_map": lambda: dict(result=stressed()),
    "figures.plot_reliability": lambda: dict(result=stressed(), stress=str(stressed().stress.values[0])),
    "figures.plot_filter_response": lambda: dict(result=filtered(), layer="conv2"),
    "figures.plot_scores": lambda: dict(scores=scored()),
    "figures.plot_similarity": lambda: dict(
        result=get("measure.similarity_matrix")(dict(a=ladder(), b=ladder()), permutations=100)),
    "figures.plot_compactness": lambda: dict(result=filtered(), layer="conv2"),
    "figures.plot_areas": lambda: dict(results=dict(a=stressed(), b=stressed())),
    "figures.plot_comparison": lambda: dict(results=dict(a=stressed(), b=stressed())),
    "figures.plot_severity": lambda: dict(results=dict(a=stressed())),
    "figures.plot_minimal": lambda: dict(results=dict(a=least())),
    "figures.plot_corruption_error": lambda: dict(
        results=get("measure.corruption_error")(corrupted(), **FEW), measure="error"),
    "probes.compare_sources": lambda: dict(models=[model(), other()], data=data(), sources=dict(a=images())),
    "probes.recalibrate": lambda: dict(model=model(), data=data(), n=8, stressor=noise(), severity=1.),
}


@cache
def scratch():
    import tempfile
    return Path(tempfile.mkdtemp())


@cache
def picture():
    from PIL import Image
    Image.new("L", (8, 8)).save(scratch() / "picture.png")
    return str(scratch() / "picture.png")


@cache
def corruptions():
    "A corrupted set."
    (scratch() / "own-C" / "fog" / "1").mkdir(parents=True)
    return scratch() / "own-C"




# Results of the probes, of trainings and of templates, each made once

@cache
def names(): return ["conv1", "conv2"]


@cache
def few(): return data().take(range(6))


@cache
def bn(kind):
    made = get("probes.bn_probe")(model(), data(), [kind], stressors=noise(), severities=(0, 2), progress=False)
    return made[kind]


@cache
def bn_scored(): return get("probes.statistic_scores")(bn("statistic_stress"), **FEW)


@cache
def dropped(): return get("probes.kernel_dropout")(model(), data(), attack=fgsm(), progress=False)


@cache
def kernels(): return get("probes.fragile_kernels")(dropped(), **FEW)


@cache
def targeted():
    return get("probes.adversarial_targeting")(model(), few(), fgsm(), [0, 1], n_perm=99, progress=False)


@cache
def balanced():
    return get("probes.rebalance")(model(), few(), [0, 1], (0.5, 1), (1, 2), fgsm(), progress=False)


@cache
def snapshots(): return {1: checkpoint(), 2: checkpoint()}


@cache
def checkpoint(): return get("models.save_checkpoint")(model(), scratch() / "model.safetensors")


@cache
def history(): return get("probes.kernel_history")(model(), snapshots(), few(), **QUICK)


@cache
def covered(): return get("probes.neuron_coverage")(model(), few(), **QUICK)


@cache
def growth(): return get("probes.coverage_growth")(model(), few(), orders=2, points=3, **QUICK)


@cache
def profile(): return get("probes.activation_profile")(model(), few(), **QUICK)


@cache
def differential():
    return get("probes.generate_differential")([model(), other()], few(), steps=2, round_size=6, **QUICK)


@cache
def compared():
    return get("probes.compare_sources")([model(), other()], few(), dict(a=images()[:6], b=images()[:6]))


@cache
def coverage_by_layer(): return get("probes.coverage_table")(covered(), scored(), **FEW)


def build(seed): return get("models.create_model")("cnn3", seed=seed)


SHORT = dict(epochs=2, progress=False, batch_size=30, device="cpu")


@cache
def train(): return get("data.load_data")("digits", "train", n=60)


@cache
def log(): return get("models.fit")(build(0), train(), test=few(), **SHORT)


@cache
def rested():
    return get("probes.selective_fit")(build(0), train(), held_out=20, every=1, thresholds=2, attack=fgsm(),
                                       layers=["linear"], **SHORT)


@cache
def retrained():
    return get("probes.compare_retraining")(build, train(), few(), inits=1, epsilons=(0, 0.1), held_out=20, every=1,
                                            thresholds=2, attack=fgsm(), layers=["linear"], **SHORT)


@cache
def gained(): return get("probes.retraining_gain")(retrained())


@cache
def matrix():
    return get("measure.train_test_matrix")("cnn3", (train(), few()), noise(), (0, 1), probes=2, seeds=(0, 1),
                                            searches=("fgsm",), **SHORT)


@cache
def landscape():
    return get("measure.filter_landscape")(model(), snapshots(), few(), thresholds=3, layers=["conv2", "linear"],
                                           attack=fgsm(), **QUICK)


@cache
def inits():
    both = [filtered(), filtered()]
    return xr.concat(both, "init").assign_coords(init=[0, 1]).assign_attrs(filtered().attrs)


@cache
def landscape_scores(): return get("measure.synaptic_scores")(landscape(), **FEW)


@cache
def found(): return get("stress.find_epsilon")(model(), data(), max_epsilon=0.5, progress=False)


@cache
def report():
    "What `model_report` keeps, without its run."
    summary = get("measure.stress_summary")(stressed(), **FEW)
    return xr.DataTree.from_dict(dict(stress=stressed(), stress_summary=summary, epsilon=found(), filters=filtered(),
                                      scores=scored()))


@cache
def report_file(): return str(get("core.save_result")(report(), scratch() / "report.nc"))


@cache
def summary(): return get("measure.stress_summary")(stressed(), **FEW)


@cache
def clean(): return get("run.clean_scores")(scored())


@cache
def study():
    "A study file with two runs, none of them started."
    path = scratch() / "study" / "study.toml"
    path.parent.mkdir()
    path.write_text('name = "s"\ntemplate = "train_and_report"\n[parameters]\nepochs = 1\n'
                    '[axes]\nmodel = ["cnn3", "cnn4"]\n')
    return str(path)


MORE_CALLS = {
    # core
    "core.CounterStreams": lambda: dict(index=range(3), device="cpu"),
    "core.checked": lambda: dict(f=build),
    "core.code_digest": lambda: dict(code=build.__code__),
    "core.describe_structure": lambda: dict(model=model()),
    "core.file_digests": lambda: dict(paths=[picture()]),
    "core.folder_digest": lambda: dict(folder=scratch()),
    "core.free_path": lambda: dict(path=scratch() / "a.txt"),
    "core.help_text": lambda: dict(thing=build),
    "core.installed_version": lambda: dict(package="numpy"),
    "core.owner_of": lambda: dict(folder=scratch()),
    "core.put_aside": lambda: dict(folder=scratch() / "empty", names=["a.txt"]),
    "core.provenance": lambda: dict(kind="x"),
    "core.question_folder": lambda: dict(folder=scratch() / "parts"),
    "core.PartStore": lambda: dict(folder=scratch() / "parts"),
    "core.remembered": lambda: dict(key=("a",), find=lambda: 1),
    "core.text_digest": lambda: dict(text="a"),
    "core.unknown_name": lambda: dict(what="x", value="a", known=["b"]),
    "core.Registry": lambda: dict(what="thing"),
    "core.Near": lambda: dict(values=np.zeros(3)),
    "core.Rows": lambda: dict(digests=np.zeros(3, int)),
    "core.own_folder": lambda: dict(folder=scratch() / "owned", what="taken"),
    "core.write_atomic": lambda: dict(path=scratch() / "atomic.txt"),
    "core.write_kept": lambda: dict(path=scratch() / "kept.txt"),
    # models
    "models.Architecture": lambda: dict(build=build),
    "models.PlainCNN": lambda: dict(depth=3),
    "models.CifarResNet": lambda: dict(depth=8),
    "models.LeNet": lambda: dict(kind=5),
    "models.ModuleNet": lambda: dict(kind="resnet", maps=8),
    "models.InceptionModule": lambda: dict(maps=16),
    "models.ShortcutBlock": lambda: dict(w_in=4, w_out=4),
    "models.NoNorm": lambda: dict(num_features=4),
    "models.Normalized": lambda: dict(network=model().network, mean=0.5, std=0.5, resize=8),
    "models.HorizontalFlip": dict, "models.RandomCrop": lambda: dict(padding=1),
    "models.among": lambda: dict(model=model(), data=data()),
    "models.answers_differ": lambda: dict(then="a", now="b"),
    "models.answers_text": lambda: dict(model=model(), shape=(1, 8, 8)),
    "models.as_augment": lambda: dict(augment="flip"),
    "models.channel_stats": lambda: dict(data=data()),
    "models.checkpoint_facts": lambda: dict(path=checkpoint()),
    "models.conv_module": lambda: dict(w_in=4, w_out=4),
    "models.evaluating": lambda: dict(model=model()),
    "models.describe_model": lambda: dict(model=model()),
    "models.epoch_order": lambda: dict(n=5, seed=0, epoch=1),
    "models.find_architecture": lambda: dict(name="cnn3"),
    "models.pick_layers": lambda: dict(model=model(), layers=2),
    "models.find_layers": lambda: dict(model=model(), names=names()),
    "models.fit": lambda: dict(model=build(0), train=train(), test=few(), **SHORT),
    "models.fit_inits": lambda: dict(build=build, train=train(), inits=1, folder=scratch() / "inits", epochs=1,
                                    progress=False),
    "models.init_snapshots": lambda: dict(folder=trained_folder()),
    "models.kernel_weights": lambda: dict(layer=get("models.find_layers")(model())[0]),
    "models.kept_snapshots": lambda: dict(folder=trained_folder()),
    "models.layer_table": lambda: dict(model=model()),
    "models.least_size": lambda: dict(name="cnn3"),
    "models.list_snapshots": lambda: dict(folder=trained_folder() / "init-0"),
    "models.load_checkpoint": lambda: dict(path=checkpoint()),
    "models.match_data": lambda: dict(model=model(), data=data()),
    "models.model_hash": lambda: dict(model=model()),
    "models.model_name": lambda: dict(model=model()),
    "models.model_table": lambda: dict(names=["cnn3"], image_size=8, in_chans=1),
    "models.own_answers": lambda: dict(model=model(), data=data()),
    "models.question_of": lambda: dict(folder=scratch() / "parts", kind="x", model=model(), data=data()),
    "models.read_safetensors": lambda: dict(path=checkpoint()),
    "models.record_activations": lambda: dict(model=model(), data=data(), layers=names()),
    "models.residual_module": lambda: dict(kind="resnet", maps=8),
    "models.save_checkpoint": lambda: dict(model=model(), path=scratch() / "saved.safetensors"),
    "models.snapshot_epochs": lambda: dict(snapshots=2, epochs=4),
    "models.snapshot_path": lambda: dict(folder="a", epoch=1),
    "models.swap_norm": lambda: dict(model=model(), groups=2),
    "models.train_model": lambda: dict(model="cnn3", out=scratch() / "trained", n=20, epochs=1, progress=False),
    "models.unit_table": lambda: dict(model=model(), layers=names()),
    # stress
    **{f"stress.{name}": dict for name in (
        "Attack Contrast DefocusBlur Elastic Frost GaussianBlurC GaussianNoiseC GlassBlur ImpulseNoise JPEG MotionBlur "
        "Pixelate Rain Saturate ShotNoise Snow Spatter SpeckleNoise ZoomBlur").split()},
    "stress.RandomOrders": lambda: dict(theta=theta(), names=["conv1"]),
    "stress.Adversarial": dict, "stress.AutoAttack": dict,
    "stress.as_attack": lambda: dict(thing="pgd", epsilon=0.1, norm="inf"),
    "stress.as_stressors": lambda: dict(stressors="fog"),
    "stress.attack_of_size": lambda: dict(attack=fgsm(), epsilon=0.1),
    "stress.baseline": lambda: dict(removed=np.arange(3), weights=3),
    "stress.between_nodes": lambda: dict(removed=np.arange(4), weights=4, steps=np.array([0, 3])),
    "stress.border_index": lambda: dict(n=5, margin=1, border="mirror"),
    "stress.check_unit": lambda: dict(attack=fgsm(), severity=1.),
    "stress.constants_for": lambda: dict(size=(32, 32)),
    "stress.control_steps": lambda: dict(removed=np.arange(4), weights=4),
    "stress.find_attack": lambda: dict(name="pgd"),
    "stress.frozen_parameters": lambda: dict(model=model()),
    "stress.magnitude": lambda: dict(theta=theta(), alpha=0.1),
    "stress.overstated_sign": lambda: dict(attacked=np.ones(9, bool), strongest=np.zeros(9, bool)),
    "stress.path_length": lambda: dict(removed=np.arange(4), weights=4),
    "stress.random_ranks": lambda: dict(groups=[theta()], names=["a"]),
    "stress.stress_id": lambda: dict(stressor=noise()),
    "stress.weight_groups": lambda: dict(theta=theta()),
    # engine
    "engine.EditEngine": lambda: dict(model=model()),
    "engine.Edits": lambda: dict(paths=("network.conv1.weight",), count=1, make=lambda i: {}),
    # measure
    "measure.average_inits": lambda: dict(scores=get("measure.synaptic_scores")(inits(), **FEW)),
    "measure.chance_level": lambda: dict(result=filtered()),
    "measure.control_performance": lambda: dict(result=controlled()),
    "measure.corruption_scores": lambda: dict(error=np.full((2, 5), .5), clean=.2, reference=np.full((2, 5), .5),
                                              reference_clean=.2),
    "measure.filter_landscape": lambda: dict(model=model(), snapshots=snapshots(), data=few(), thresholds=2, **QUICK),
    "measure.labels_by_baseline": lambda: dict(scores=both_scores()[0], random=both_scores()[1]),
    "measure.lowest_set": lambda: dict(point=np.zeros(3), draws=np.random.default_rng(0).random((100, 3)), n=20),
    "measure.simultaneous_interval": lambda: dict(point=np.zeros(3), draws=np.random.default_rng(0).random((100, 3)),
                                                  n=20),
    "measure.spread_of": lambda: dict(draws=np.random.default_rng(0).random((100, 3))),
    "measure.matrix_minimal": lambda: dict(result=matrix(), search="fgsm", **FEW),
    "measure.matrix_row": lambda: dict(result=matrix(), train=str(matrix().train.values[0])),
    "measure.matrix_summary": lambda: dict(result=matrix(), **FEW),
    "measure.result_summary": lambda: dict(report=report()),
    "measure.stress_scores": lambda: dict(result=stressed(), **FEW),
    "measure.targeted_mask": lambda: dict(model=model(), targets=weights_hit()),
    "measure.targeted_weights": lambda: dict(result=filtered(), layer="conv2", **FEW),
    "measure.train_test_matrix": lambda: dict(model="cnn3", data=(train(), few()), stressor=noise(), levels=(0, 1),
                                              searches=(), **SHORT),
    "measure.worst_class": lambda: dict(result=stressed(), **FEW),
    # figures
    "figures.plot_depth": lambda: dict(scores=dict(a=scored())),
    "figures.plot_differences": lambda: dict(differences=dict(b=differs())),
    "figures.plot_disagreements": lambda: dict(images=[images().numpy()[:2]], answers=[["a", "b"]], titles=["x"]),
    "figures.plot_examples": lambda: dict(images=images().numpy()[:4].reshape(2, 2, 1, 8, 8),
                                          answers=np.full((2, 2), "a"), confidence=np.ones((2, 2)),
                                          columns=["x", "y"]),
    "figures.plot_landscape": lambda: dict(scores=landscape_scores()),
    "figures.plot_learning": lambda: dict(scores=landscape_scores()),
    "figures.plot_matrix": lambda: dict(result=matrix()),
    "figures.plot_matrix_lines": lambda: dict(result=matrix()),
    "figures.plot_matrix_minimal": lambda: dict(results=matrix(), search="fgsm"),
    "figures.plot_scores_together": lambda: dict(scores=dict(a=scored(), b=scored())),
    "figures.plot_smallest_fraction": lambda: dict(result=landscape(), layer="conv2"),
    "figures.plot_targets": lambda: dict(result=landscape(), layer="conv2"),
    "figures.plot_training": lambda: dict(log=log()),
    # probes: BatchNorm
    "probes.find_batchnorms": lambda: dict(model=model()),
    "probes.norms_after": lambda: dict(model=model(), layers=names(), data=data()),
    "probes.batch_statistics": lambda: dict(model=model(), data=few(), batch_sizes=[2], **QUICK),
    "probes.bn_probe": lambda: dict(model=model(), data=few(), probes="statistic_gap", severities=(0, 1), **QUICK),
    "probes.residual_features": lambda: dict(model=model(), data=few(), **QUICK),
    "probes.statistic_gap": lambda: dict(model=model(), data=few(), stressors=noise(), severities=(0, 1), **QUICK),
    "probes.statistic_stress": lambda: dict(model=model(), data=few(), scales=(0.5, 1, 2), shifts=(-1, 0, 1), **QUICK),
    "probes.recalibration": lambda: dict(model=model(), data=few(), n=[2], **QUICK),
    "probes.probe_summary": lambda: dict(result=bn("residual_features"), **FEW),
    "probes.emission_effect": lambda: dict(result=bn("residual_features"), **FEW),
    "probes.statistic_baseline": lambda: dict(result=bn("statistic_stress")),
    "probes.statistic_scores": lambda: dict(result=bn("statistic_stress"), **FEW),
    "probes.plot_batch_statistics": lambda: dict(result=bn("batch_statistics")),
    "probes.plot_channel_gaps": lambda: dict(result=bn("statistic_gap"), layer=first_norm()),
    "probes.plot_emitted": lambda: dict(result=bn("residual_features"), layer=first_norm()),
    "probes.plot_recalibration": lambda: dict(result=bn("recalibration")),
    "probes.plot_residual": lambda: dict(result=bn("residual_features")),
    "probes.plot_statistic_gap": lambda: dict(result=bn("statistic_gap")),
    "probes.plot_statistic_scores": lambda: dict(scores=bn_scored()),
    "probes.plot_statistic_stress": lambda: dict(result=bn("statistic_stress")),
    # probes: coverage
    "probes.Coverage": lambda: dict(model=model()),
    "probes.KMNC": dict, "probes.NC": dict, "probes.TKNC": dict, "probes.TKNP": dict,
    "probes.Occl": dict, "probes.Blackout": dict,
    "probes.activation_profile": lambda: dict(model=model(), data=few(), **QUICK),
    "probes.neuron_coverage": lambda: dict(model=model(), data=few(), **QUICK),
    "probes.coverage_growth": lambda: dict(model=model(), data=few(), orders=2, points=3, **QUICK),
    "probes.coverage_table": lambda: dict(coverage=covered(), scores=scored(), gap=bn("statistic_gap"), **FEW),
    "probes.coverage_units": lambda: dict(outputs=outputs()),
    "probes.criterion_label": lambda: dict(name="nc_deepxplore_0.25"),
    "probes.find_outputs": lambda: dict(model=model(), image=images()[:1]),
        "probes.generate_differential": lambda: dict(models=[model(), other()], data=few(), steps=2, **QUICK),
    "probes.generate_transformed": lambda: dict(model=model(), data=few(), tries=1, **QUICK),
    "probes.generated_data": lambda: dict(result=differential()),
    "probes.input_sources": lambda: dict(models=[model(), other()], data=few(), constraints=("none",), **QUICK),
    "probes.joint_objective": lambda: dict(logits=[torch.rand(2, 3), torch.rand(2, 3)], answer=torch.tensor([0, 1]),
                                           target=torch.tensor([0, 1])),
    "probes.save_generated": lambda: dict(result=differential(), folder=scratch() / "generated"),
    "probes.plot_coverage_map": lambda: dict(coverage=covered()),
    "probes.plot_coverage_scores": lambda: dict(table=coverage_by_layer()),
    "probes.plot_generated": lambda: dict(result=differential()),
    "probes.plot_growth": lambda: dict(growth=growth()),
    "probes.plot_sources": lambda: dict(comparison=compared()),
    # probes: kernels
    "probes.kernel_dropout": lambda: dict(model=model(), data=few(), **QUICK),
    "probes.kernel_history": lambda: dict(model=model(), snapshots=snapshots(), data=few(), **QUICK),
    "probes.adversarial_targeting": lambda: dict(model=model(), data=few(), attacks=fgsm(), kernels=[0, 1], n_perm=99,
                                                 **QUICK),
    "probes.rebalance": lambda: dict(model=model(), data=few(), kernels=[0, 1], compress=(1,), amplify=(1,), **QUICK),
    "probes.fragile_kernels": lambda: dict(result=dropped(), **FEW),
    "probes.kernel_groups": lambda: dict(kernels=[0], names=range(4)),
    "probes.kernel_set": lambda: dict(scores=kernels()),
    "probes.kernel_shares": lambda: dict(results=dict(a=dropped())),
    "probes.label_kernels": lambda: dict(low=-np.ones(3), high=np.ones(3)),
    "probes.permutation_test": lambda: dict(values=np.arange(5.), chosen=np.arange(5) < 2, n_perm=99),
    "probes.rebalance_gain": lambda: dict(result=balanced(), **FEW),
    "probes.superiority": lambda: dict(values=np.arange(5.), chosen=np.arange(5) < 2),
    "probes.targeting_scores": lambda: dict(result=targeted(), n_perm=99),
    "probes.plot_kernel_dropout": lambda: dict(result=dropped(), scores=kernels()),
    "probes.plot_kernel_history": lambda: dict(scores=get("probes.fragile_kernels")(history(), **FEW)),
    "probes.plot_kernel_shares": lambda: dict(table=get("probes.kernel_shares")(dict(a=dropped(), b=dropped()))),
    "probes.plot_kernels": lambda: dict(result=dropped(), scores=kernels()),
    "probes.plot_rebalance": lambda: dict(result=balanced()),
    "probes.plot_targeting": lambda: dict(result=targeted()),
    "probes.plot_targeting_kernels": lambda: dict(result=targeted()),
    # probes: retraining
    "probes.compare_retraining": lambda: dict(build=build, train=train(), test=few(), inits=1, epsilons=(0, 0.1),
                                              held_out=20, every=1, thresholds=2, rules=("random",),
                                              layers=["linear"], attack=fgsm(), **SHORT),
    "probes.selective_fit": lambda: dict(model=build(0), train=train(), held_out=20, every=1, thresholds=2,
                                         layers=["linear"], attack=fgsm(), **SHORT),
    "probes.layer_norms": lambda: dict(model=model(), data=data()),
    "probes.retraining_gain": lambda: dict(comparison=retrained()),
    "probes.score_layers": lambda: dict(model=model(), held=few(), attack=fgsm(), thresholds=2, control=1, **QUICK),
    "probes.split_holdout": lambda: dict(train=train(), n=20),
    "probes.plot_frozen": lambda: dict(log=rested()),
    "probes.plot_periods": lambda: dict(log=rested()),
    "probes.plot_gain": lambda: dict(gain=gained()),
    "probes.plot_retraining": lambda: dict(comparison=retrained()),
    # explore
    "explore.attribute": lambda: dict(model=model(), x=images()[:1], target=0),
    "explore.check_result": lambda: dict(result=stressed(), kind="stress_sweep"),
    "explore.explore_batchnorm": lambda: dict(model=model(), data=few(), stressors=noise()),
    "explore.explore_coverage": lambda: dict(result=covered(), growth=growth()),
    "explore.explore_gaps": lambda: dict(result=bn("statistic_gap")),
    "explore.explore_kernels": lambda: dict(result=dropped(), model=model(), data=data()),
    "explore.explore_matrix": lambda: dict(result=matrix()),
    "explore.explore_runs": lambda: dict(runs=dict(a=filtered())),
    "explore.explore_scores": lambda: dict(result=filtered()),
    "explore.explore_breaking": lambda: dict(result=stressed(), data=data()),
    "explore.breaks_of": lambda: dict(result=filtered()),
    "explore.view_page": lambda: dict(parts=["a"], title="a page"),
    "explore.live_notebook": lambda: dict(notebook=empty_notebook()),
    "explore.explore_sweep": lambda: dict(result=stressed()),
    "explore.explore_stress": lambda: dict(model=model(), data=few(), stressors=noise()),
    "explore.point_scores": lambda: dict(result=filtered()),
    "explore.run_table": lambda: dict(runs=dict(a=filtered())),
    "explore.warn_of_another": lambda: dict(model=model(), result=stressed()),
    # run
    "run.LocalEngine": dict,
    "run.attacks_sentences": lambda: dict(stress=stressed()),
    "run.beside_sentence": lambda: dict(name="b", first="a", differences=differs()),
    "run.beside_table": lambda: dict(summary=summary()),
    "run.best_trainings": lambda: dict(summary=get("measure.matrix_summary")(matrix(), **FEW)),
    "run.changed_since": lambda: dict(run={}, identity={}),
    "run.check_kernel": dict,
    "run.check_parameters": lambda: dict(template="model_report", params={}),
    "run.compare_results": lambda: dict(old=report(), new=report(), fail_if=["fgsm_flip_rate > 0.5"], n_boot=100),
    "run.comparison_markdown": lambda: dict(found=gate()),
    "run.check_report": lambda: dict(report={}, own=()),
    "run.check_study": lambda: dict(study=study()),
    "run.check_template": lambda: dict(template="model_report", values={}),
    "run.clean_scores": lambda: dict(scores=scored()),
    "run.collect_study": lambda: dict(study=study(), results={run_name(): report()}),
    "run.compactness_table": lambda: dict(smallest=get("measure.smallest_fraction")(filtered()).sel(stress="clean")),
    "run.comparison_table": lambda: dict(reports=dict(a=report(), b=report())),
    "run.coverage_columns": lambda: dict(table=coverage_by_layer()),
    "run.coverage_sentence": lambda: dict(coverage=covered()),
    "run.data_words": lambda: dict(name="digits/test"),
    "run.difference_sentence": lambda: dict(name="a", first="b", difference=get("measure.auc_difference")(
        stressed(), stressed(), **FEW)),
    "run.differences_table": lambda: dict(differences=differs()),
    "run.disagreement_rows": lambda: dict(results=dict(a=stressed(), b=stressed()), data=data(),
                                          stress=first_stress()),
    "run.disagreements": lambda: dict(a=stressed(), b=stressed(), stress=first_stress()),
    "run.facts_table": lambda: dict(facts=dict(a=1)),
    "run.estimate_if_long": lambda: dict(model=model(), data=data(), params={}),
    "run.estimate_report": lambda: dict(model=model(), data=data(), thresholds=2),
    "run.estimate_run": lambda: dict(model="cnn2", n=20, thresholds=2),
    "run.find_template": lambda: dict(template="model_report"),
    "run.found_text": lambda: dict(sentences=["a"]),
    "run.frozen_text": lambda: dict(retrained=retrained()),
    "run.gain_table": lambda: dict(gains=gained()),
    "run.images_of": lambda: dict(path=report_file(), report=report()),
    "run.inits_table": lambda: dict(mean=averaged()),
    "run.inits_text": lambda: dict(mean=averaged()),
    "run.is_done": lambda: dict(out=scratch() / "run", template="model_report"),
    "run.is_shipped": lambda: dict(template=get("run.find_template")("model_report")),
    "run.kernel_interpreter": dict,
    "run.kernels_sentence": lambda: dict(scores=kernels(), layer="conv1", targeting=targeted()),
    "run.kernels_text": lambda: dict(scores=kernels(), layer="conv1", below=[0]),
    "run.label_counts": lambda: dict(line=line()),
    "run.layer_differences": lambda: dict(filters=dict(a=filtered(), b=filtered())),
    "run.layers_beside": lambda: dict(reports=dict(a=report(), b=report())),
    "run.left_out_lines": lambda: dict(results=dict(stress=stressed())),
    "run.separations": lambda: dict(a=stressed(), b=stressed(), stress=first_stress()),
    "run.separation_rows": lambda: dict(results=dict(a=stressed(), b=stressed()), data=data(), stress=first_stress()),
    "run.layers_sentence": lambda: dict(name="b", differences=layers_differ()),
    "run.layers_with": lambda: dict(label="fragile", scores=clean()),
    "run.load_reports": lambda: dict(results=[report_file(), report_file()], names=["a", "b"]),
    "run.load_study": lambda: dict(path=study()),
    "run.markdown_table": lambda: dict(table=get("models.layer_table")(model())),
    "run.minimal_text": lambda: dict(minimal=get("measure.matrix_minimal")(matrix(), "fgsm", **FEW), search="fgsm",
                                     first=first_train(), last=first_train()),
    "run.model_card": lambda: dict(run=report()),
    "run.notebook_page": lambda: dict(notebook=notebook()),
    "run.overview_table": lambda: dict(line=line(), epsilon=found()),
    "run.own_modules": lambda: dict(template=get("run.find_template")("model_report"), folders=[scratch()]),
    "run.page_link": lambda: dict(text="a", path="b"),
    "run.parameter_contents": lambda: dict(template=get("run.find_template")("model_report"), params={},
                                           cwd=scratch()),
    "run.pick_gpus": lambda: dict(gpus=0),
    "run.place_sentence": lambda: dict(name="a", scores=clean()),
    "run.plain_value": lambda: dict(name="a", value=1),
    "run.recalibration_sentence": lambda: dict(recalibrated=bn("recalibration")),
    "run.report_group": lambda: dict(reports=dict(a=report()), group="scores"),
    "run.report_study": lambda: dict(study=study()),
    "run.retraining_sentence": lambda: dict(gains=gained()),
    "run.run_modules": lambda: dict(template=get("run.find_template")("model_report"), cwd=scratch()),
    "run.save_comparison": lambda: dict(found=gate(), markdown=scratch() / "gate.md"),
    "run.save_model_card": lambda: dict(run=report(), path=scratch() / "card.md"),
    "run.section_switches": lambda: dict(sections=["coverage"]),
    "run.show_table": lambda: dict(table=get("models.layer_table")(model())),
    "run.show_text": lambda: dict(text="a"),
    "run.slurm_options": lambda: dict(gpus=1, cores=4),
    "run.stress_sentence": lambda: dict(summary=summary()),
    "run.stress_table": lambda: dict(summary=summary()),
    "run.stress_words": lambda: dict(name="a"),
    "run.study_status": lambda: dict(study=study()),
    "run.study_table": lambda: dict(study=study(), results={run_name(): report()}),
    "run.summary_table": lambda: dict(results=dict(a=report_file())),
    "run.targeting_text": lambda: dict(targeting=targeted(), epsilon=0.05, below=[0]),
    "run.telling_stress": lambda: dict(differences=differs()),
    "run.template_parameters": lambda: dict(template="model_report"),
    "run.thread_share": lambda: dict(workers=1),
    "run.time_left": lambda: dict(status=get("run.study_status")(study()), axes=["model"]),
    "run.training_words": lambda: dict(log=log()),
    "run.verdict_sentence": lambda: dict(name="b", first="a", differences=differs()),
    "run.weights_sentence": lambda: dict(scores=clean()),
}


@cache
def trained_folder():
    get("models.fit_inits")(build, train(), inits=1, folder=scratch() / "first", snapshots=1, epochs=1, progress=False)
    return scratch() / "first"


@cache
def controlled():
    return get("measure.filter_sweep")(model(), data(), layers=["conv2"], thresholds=3, control=2, control_nodes=2,
                                       progress=False)


@cache
def both_scores():
    return [get("measure.synaptic_scores")(controlled(), baseline=b, **FEW) for b in ("published", "random")]


@cache
def weights_hit(): return get("measure.targeted_weights")(filtered(), "conv2", **FEW)


def first_norm(): return str(bn("statistic_gap").layer_name.values[0])
def first_train(): return str(matrix().train.values[0])
def first_stress(): return str(stressed().stress.values[0])


@cache
def differs(): return get("measure.stress_differences")(stressed(), stressed(), **FEW)


@cache
def layers_differ(): return get("measure.score_differences")(filtered(), filtered(), **FEW)


@cache
def by_baseline(name): return get("measure.score_differences")(controlled(), controlled(), baseline=name, **FEW)


@cache
def two_inits():
    scores = get("measure.synaptic_scores")(filtered(), **FEW)
    return xr.concat([scores, scores.assign(score=scores.score + 0.1)], "init").assign_attrs(scores.attrs)


@cache
def averaged(): return get("measure.average_inits")(get("measure.synaptic_scores")(inits(), **FEW))


@cache
def gate(): return get("run.compare_results")(report(), report(), n_boot=100)


@cache
def outputs(): return get("probes.find_outputs")(model(), images()[:1])


@cache
def empty_notebook():
    import nbformat
    return nbformat.v4.new_notebook()


@cache
def run_name(): return get("run.load_study")(study()).runs[0].name


@cache
def line(): return get("measure.result_summary")(report())


@cache
def notebook():
    import nbformat
    path = scratch() / "page.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A")]), path)
    return str(path)


CALLS |= MORE_CALLS

# Their right calls take minutes, or files that are not there; wrong ones are refused before
UNTRIED = {
    **{f"data.load_{name}": lambda: dict(split="test", root=scratch()) for name in (
        "cifar10 cifar100 cifar100_coarse cifar10_jpeg fashion_mnist imagenet mnist tiny_imagenet").split()},
    "run.DaskEngine": dict,
    "run.run_cells": lambda: dict(template="model_report"),
    "run.run_demo": lambda: dict(out=scratch() / "demo", progress=False),
    "run.run_grid": lambda: dict(study=study()),
    "run.run_model": lambda: dict(model="cnn3", out=scratch() / "run", progress=False),
    "run.run_study": lambda: dict(template="model_report", out=scratch() / "run", progress=False),
    "run.save_collection": lambda: dict(study=study()),
}
CALLS |= UNTRIED
