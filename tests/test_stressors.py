"Stressors: random streams, geometry, chains, and the common corruptions against their plain twins, image by image."
import math
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT, python
from scipy import ndimage, stats

from fragility_nb.models.create import create_model
from fragility_nb.models.answers import predict
from fragility_nb.stress.attacks import FGSM
from fragility_nb.stress.corruptions import COMMON, EXTRA, common_corruptions
from fragility_nb.stress.noise_blur import Corruption, constants_for
from fragility_nb.core.streams import CounterStreams
from fragility_nb.stress.stressors import BARTSCHAT_BLUR, BARTSCHAT_NOISE, BARTSCHAT_SIGMAS, Chain
from fragility_nb.stress.corruptions import STRESSORS
from fragility_nb.stress.stressors import GaussianBlur, GaussianNoise, Hue, Occlusion, Perspective, Rotation, Scale
from fragility_nb.stress.stressors import Shear, Stressor, Translation, apply_stress, border_index, gaussian_filter
from fragility_nb.stress.stressors import stress_id

twins = pytest.importorskip("corruption_twins", reason="the twins need scikit-image")
ALL = [*COMMON, *EXTRA]
SHARED = ROOT.parent / "shared" / "data"
needs_data = pytest.mark.skipif(not SHARED.is_dir(), reason="needs the images and checkpoints of ../shared/data")


def photographs(size, n=2):
    "Parts of scikit-learn's two sample photographs, (n, 3, size, size)."
    from sklearn.datasets import load_sample_images
    whole = torch.tensor(np.stack(load_sample_images().images)).permute(0, 3, 1, 2).float().div(255)
    x = F.interpolate(whole[:, :, :, 100:527], (size, size), mode="bilinear", antialias=True)
    return (x.repeat(math.ceil(n/2), 1, 1, 1)[:n]*255).round().clamp(0, 255)/255


class Draw:
    "The numbers of one image's stream, for a twin: the same calls give the same numbers."
    def __init__(self, stressor, severity, image):
        self.streams = CounterStreams(stress_id(stressor), float(severity), 0, index=[image])
        self.channels = None
    def uniform(self, *shape): return self._as_hwc(self.streams.uniform, shape)
    def normal(self, *shape): return self._as_hwc(self.streams.normal, shape)
    def poisson(self, rate): return stats.poisson.ppf(self.uniform(*rate.shape), rate)
    def _as_hwc(self, draw, shape):
        image = len(shape) == 3 and shape[-1] == 3 and shape[0] > 3
        values = draw(*((3, *shape[:2]) if image else shape))[0].double().numpy()
        return values.transpose(1, 2, 0) if image else values


def twin_of(name, constants, severity, x):
    "What the twin makes of the images, with the random numbers of the package."
    table, stressor, out = getattr(twins, constants.upper()), STRESSORS[name](constants), []
    for i, image in enumerate(x):
        hwc, extra = image.double().permute(1, 2, 0).numpy(), {}
        if name == "frost": extra["ice"] = ice(x, i, severity, constants)
        y = getattr(twins, name)(hwc, table[name][severity - 1], Draw(stressor, severity, i), **extra)
        out.append(torch.from_numpy(np.ascontiguousarray(y)).permute(2, 0, 1))
    return torch.stack(out).float()


def ice(x, i, severity, constants):
    "The cut-out of the drawn texture that image i gets: the texture is ours, so the twin takes it as it is."
    from fragility_nb.stress.weather import _ice
    return cut_out(_ice(None, constants, tuple(x.shape[2:])), STRESSORS["frost"](constants), severity, i, x.shape[-1])


def cut_out(textures, stressor, severity, i, n):
    "What image i of n × n pixels gets of the textures (3, H, W), as (n, n, 3)."
    streams = CounterStreams(stress_id(stressor), float(severity), 0, index=[i])
    t, (top, left) = textures[int(streams.integers(0, len(textures), 1))], streams.uniform(2)[0].tolist()
    top, left = int(top*(t.shape[1] - n + 1)), int(left*(t.shape[2] - n + 1))
    return t[:, top:top + n, left:left + n].permute(1, 2, 0).double().numpy()


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", ALL)
def test_corruptions_are_their_twins(name, severity):
    "The same random numbers: mean absolute difference below 0.01, mean and standard deviation within 2 %."
    for constants, size in (("cifar", 32), ("tiny", 64), ("imagenet", 48)):
        x = photographs(size)
        # the twin's loops are slow
        if name == "glass_blur" and constants != "cifar" and severity not in (2, 5): continue
        ours, twin = apply_stress(STRESSORS[name](constants), x, severity), twin_of(name, constants, severity, x)
        assert (ours - twin).abs().mean() < 0.01
        assert abs(ours.mean()/twin.mean() - 1) < 0.02 and abs(ours.std()/twin.std() - 1) < 0.02
        assert (ours - x).abs().mean() > 1e-4, "nothing happened"


@pytest.mark.parametrize("name", ["gaussian_blur_c", "defocus_blur", "motion_blur", "elastic", "pixelate", "zoom_blur",
                                  "fog", "spatter", "jpeg"])
def test_corruptions_are_their_twins_on_large_images(name):
    "The ways that only large images take: sums of shifted images, Fourier transforms, one image at a time."
    x = photographs(224, n=1)
    assert (apply_stress(STRESSORS[name]("imagenet"), x, 3) - twin_of(name, "imagenet", 3, x)).abs().mean() < 0.005


@pytest.mark.parametrize("shape", [(3, 37, 90), (3, 8, 8), (3, 64, 50), (1, 31, 44)], ids=str)
@pytest.mark.parametrize("quality", [7, 25, 80, 95, 100])
def test_jpeg_is_libjpeg(shape, quality):
    "Pillow's pixels to the bit, by either codec, at any border."
    from fragility_nb.stress.corruptions import _by_pillow, _codec
    x = photographs(96)[:, :shape[0], 20:20 + shape[1], :shape[2]].contiguous()
    stressor = type("Fixed", (STRESSORS["jpeg"],), dict(at=lambda self, severity: (quality,)))("imagenet")
    ours = stressor.perturb(x, 1, None).permute(0, 2, 3, 1).numpy()
    twin = np.stack([twins.jpeg(i if len(x[0]) == 3 else i[..., 0], quality, None).reshape(i.shape)
                     for i in x.permute(0, 2, 3, 1).double().numpy()])
    np.testing.assert_array_equal(np.round(ours*255), np.round(twin*255))
    levels = (x[0]*255).round().byte()
    assert torch.equal(_by_pillow(levels, quality), _codec()(levels, quality))


def test_jpeg_has_no_slope():
    x = photographs(16).requires_grad_()
    apply_stress(STRESSORS["jpeg"]("cifar"), x, 2).sum().backward()
    assert (x.grad == 0).all()


@pytest.mark.parametrize("n, share", [(224, .6), (224, .4), (224, .25), (33, .95), (30, .9), (6, .5), (7, .2), (5, .1)])
def test_pixelate_is_pils_box_filter(n, share):
    "In floats: Pillow's own arithmetic, without its rounding to whole levels; no pixel lies just between two boxes."
    from PIL import Image
    x = photographs(n, 1)
    stressor = type("Fixed", (STRESSORS["pixelate"],), dict(at=lambda self, severity: (share,)))("imagenet")
    (h, w), ours = x.shape[2:], stressor.perturb(x, 1, None)[0]
    small = [Image.fromarray(c.numpy()).resize((max(1, int(w*share + 1e-9)), max(1, int(h*share + 1e-9))),
                                               Image.Resampling.BOX) for c in x[0]]
    pil = np.stack([np.asarray(c.resize((w, h), Image.Resampling.NEAREST)) for c in small])
    np.testing.assert_allclose(ours, pil, atol=1e-6)


@pytest.mark.parametrize("border", ["mirror", "reflect", "nearest"])
@pytest.mark.parametrize("sigma", [3.5, 6, 16])
def test_long_blurs_of_large_images_are_scipys(sigma, border):
    "Some outputs at a time, or all of them."
    x = photographs(224, 1)[:, :, :150]
    twin = ndimage.gaussian_filter(x.double().numpy(), (0, 0, sigma, sigma), mode=border, truncate=4)
    np.testing.assert_allclose(gaussian_filter(x, sigma, border), twin, atol=1e-5)


def test_distances_from_edges_are_opencvs():
    "Way by way, as its 5×5 mask goes; nothing is nearer than 20 where there is no edge."
    from fragility_nb.stress.weather import _distance
    edges = CounterStreams("edges", index=[0, 1]).uniform(1, 40, 53) > torch.tensor([0.995, 0.9])[:, None, None, None]
    for e, d in zip(edges, _distance(edges)): np.testing.assert_allclose(d[0], twins.chamfer(e[0].numpy()), atol=3e-4)
    assert (_distance(torch.zeros(1, 1, 9, 9, dtype=torch.bool)) == 20).all()


@pytest.mark.parametrize("name", [*ALL, "rain"])
def test_corruptions_of_any_size(name):
    "8 to 299 pixels, oblong, one channel and three, in any batch; severity 0, and between the published ones."
    for shape, constants in (((2, 1, 8, 8), "imagenet"), ((2, 3, 8, 8), "cifar"), ((3, 3, 20, 33), "auto"),
                             ((1, 1, 299, 299), "imagenet")):
        x = photographs(max(shape[2:]), shape[0])[:, :shape[1], :shape[2], :shape[3]].contiguous()
        stressor = STRESSORS[name](constants)
        assert apply_stress(stressor, x, 0) is x
        for severity in (0.4, 2.6) if shape[2] < 100 else (3,):
            y = apply_stress(stressor, x, severity, seed=1)
            assert y.shape == x.shape and y.min() >= 0 and y.max() <= 1 and torch.isfinite(y).all()
            assert torch.equal(apply_stress(stressor, x[-1:], severity, seed=1, index=[shape[0] - 1])[0], y[-1])
        if stressor.random and shape[2] == 20: assert not torch.equal(apply_stress(stressor, x, 2.6, seed=2), y)


@pytest.mark.parametrize("name", [*ALL, "rain"])
def test_severities_join_up(name):
    "A little more severity changes the image a little more: constants are continuous, and near 0 is almost nothing."
    x, stressor = photographs(32), STRESSORS[name]("cifar")
    change = [(apply_stress(stressor, x, s) - x).abs().mean() for s in (0.02, 1)]
    # JPEG halves the colour's resolution at any quality
    assert change[0] < (0.02 if name == "jpeg" else max(0.25*change[1], 0.005))
    middle = stressor.at(2) if name == "spatter" else (np.array(stressor.at(1)) + stressor.at(2))/2
    np.testing.assert_allclose(stressor.at(1.5), middle)
    assert all(np.isfinite(stressor.strength(s)) for s in range(6)) and stressor.unit and stressor.name == name
    if stressor.measure: assert stressor.strength(0) == np.atleast_1d(stressor.none)[stressor.measure[0]]


def test_constants_follow_the_size():
    x, fog = photographs(32), STRESSORS["fog"]
    assert torch.equal(apply_stress(fog(), x, 2), apply_stress(fog("cifar"), x, 2))
    for size, constants in (((28, 40), "cifar"), ((41, 32), "tiny"), ((64, 64), "tiny"), ((100, 100), "tiny"),
                            ((101, 30), "imagenet"), ((224, 224), "imagenet")):
        assert constants_for(size) == constants and fog().resolve(size) == fog(constants)


def test_constants_of_tiny_imagenet_c_are_the_published_ones():
    "All 19, number by number; elastic's are shares of the side."
    for name in ALL:
        mine = [STRESSORS[name]("tiny").at(s) for s in range(1, 6)]
        published = np.array([np.atleast_1d(c) for c in twins.TINY[name]], float)
        if name == "elastic": published = published/64
        if name == "shot_noise": published = published**-0.5
        np.testing.assert_allclose(mine, published, rtol=1e-12)


def test_the_list_of_common_corruptions():
    assert [s.name for s in common_corruptions("cifar", extra=True)] == ALL
    assert all(isinstance(s, Corruption) for s in common_corruptions())


@pytest.mark.parametrize("door", ["fragility_nb", "fragility_nb.stress", "fragility_nb.stress.corruptions"])
def test_the_registry_is_complete_wherever_it_comes_from(door):
    "In a fresh process, with nothing else imported."
    code = f"from {door} import STRESSORS; print(STRESSORS['frost'](), STRESSORS['jpeg'](), len(STRESSORS))"
    assert python(code) == f"Frost(constants='auto') JPEG(constants='auto') {len(STRESSORS)}"


# Frost

# Accuracies of two published networks on exact CIFAR-10 test images 0-299 at severities 1 … 5, when the published
# generator (hendrycks/robustness, make_cifar_c.py) lays its photographs over them: the mean of three draws
PUBLISHED_FROST = {20: (.8556, .7856, .6744, .6578, .5433), 56: (.8889, .8267, .7056, .6700, .5844)}


@needs_data
@pytest.mark.parametrize("depth, severities", [(20, (1, 2, 3, 4, 5)), (56, (3, 5))])
def test_frost_is_as_hard_as_the_published(depth, severities):
    "Within 5 points. The texture of before, which had no fine detail, was 8 to 30 points milder from severity 2 on."
    with np.load(SHARED / "cifar10_exact_5000.npz") as z: x, y = z["x_test"][:300], z["y_test"][:300]
    x = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous().float()/255
    net = create_model(f"cifar_resnet{depth}", 10, 3, 32, (.485, .456, .406), (.229, .224, .225),
                       weights=SHARED / "checkpoints" / f"resnet{depth}_cifar10.pt")
    for s in severities:
        right = predict(net, apply_stress(STRESSORS["frost"]("cifar"), x, s), device="cpu").argmax(1).numpy() == y
        assert abs(right.mean() - PUBLISHED_FROST[depth][s - 1]) < 0.05


# Of the published photographs frost1.png, frost2.png, frost4.jpg, frost5.jpg, scaled by 0.2 and 0.3 as CIFAR-C's and
# Tiny-ImageNet-C's scripts do: root mean square of blocks of 1, 2, 4 pixels about the mean of four
PHOTOGRAPHED = dict(cifar=((.034, .021, .019), (.048, .029, .021), (.073, .043, .026), (.097, .064, .051)),
                    tiny=((.028, .017, .017), (.038, .028, .022), (.058, .037, .026), (.077, .060, .052)))
COLOURS = ((.305, .585, .650), (.787, .805, .841), (.540, .599, .648), (.441, .484, .528))


@pytest.mark.parametrize("constants", PHOTOGRAPHED)
def test_drawn_ice_has_the_colours_and_details_of_the_photographs(constants):
    from fragility_nb.stress.weather import _ice
    for k, photo in enumerate((0, 1, 1, 2, 3)):
        ice = _ice(None, constants, (32, 32))[k]
        np.testing.assert_allclose(ice.mean((1, 2)), COLOURS[photo], atol=0.02)
        n = ice.shape[1]//8*8
        blocks = ice.mean(0)[None, None, :n, :n]
        for wanted in PHOTOGRAPHED[constants][photo]:
            larger = F.avg_pool2d(blocks, 2)
            rest = blocks - larger.repeat_interleave(2, 2).repeat_interleave(2, 3)
            assert float(rest.square().mean().sqrt()) == pytest.approx(wanted, rel=0.2, abs=0.003)
            blocks = larger


@pytest.mark.parametrize("constants", ["cifar", "tiny", "imagenet", "auto"])
@pytest.mark.parametrize("size", [(8, 8), (103, 103), (160, 90), (224, 224), (20, 700)], ids=str)
def test_frost_fits_any_image(constants, size):
    "A texture that is too small for the image is enlarged."
    x = torch.full((2, 3, *size), 0.4)
    y = apply_stress(STRESSORS["frost"](constants), x, 3)
    assert y.shape == x.shape and (y - x).abs().mean() > 0.05 and not torch.equal(y[0], y[1])
    assert torch.equal(apply_stress(STRESSORS["frost"](constants), x[1:], 3, index=[1])[0], y[1])


@pytest.mark.parametrize("constants, scale", [("imagenet", 1), ("cifar", 0.2), ("tiny", 0.3)])
def test_own_textures_are_laid_over_the_image(constants, scale):
    "As published: scaled without smoothing, cut at random, added to the darkened image."
    own = [CounterStreams("own", index=[k]).uniform(*shape)[0] for k, shape in enumerate(((3, 200, 150), (160, 160)))]
    frost, x = STRESSORS["frost"](constants, textures=own), photographs(24)
    scaled = [F.interpolate(t.reshape(1, -1, *t.shape[-2:]), scale_factor=scale, mode="bilinear")[0] for t in own]
    if scale == 0.2: np.testing.assert_allclose(scaled[0], own[0][:, 2::5, 2::5], atol=1e-6)
    scaled = [t.expand(3, -1, -1) for t in scaled]
    table = getattr(twins, constants.upper())["frost"]
    for i, y in enumerate(apply_stress(frost, x, 3)):
        ice = cut_out(scaled, frost, 3, i, 24)
        twin = twins.frost(x[i].permute(1, 2, 0).double().numpy(), table[2], None, ice)
        np.testing.assert_allclose(y.permute(1, 2, 0), twin, atol=1e-6)


def test_own_textures_are_part_of_what_a_stressor_is():
    frost, own = STRESSORS["frost"], np.linspace(0, 1, 300).reshape(3, 10, 10)
    a, b, c = frost(textures=[own]), frost(textures=[torch.from_numpy(own)]), frost(textures=[own**2])
    assert a == b and hash(a) == hash(b) and stress_id(a) == stress_id(b)
    assert a != c and stress_id(a) != stress_id(c) and a != frost() and stress_id(frost()) == "Frost(constants='auto')"
    assert pickle.loads(pickle.dumps(a)) == a and a.resolve((32, 32)) == frost("cifar", [own])
    grey = torch.rand(2, 1, 12, 12)
    assert apply_stress(a, grey, 2).shape == grey.shape
    for wrong, told in (([], "at least one"), ([own*255], "floats in"), ([own.astype(int)], "floats in"),
                        ([own[:2]], "shape"), ([own.transpose(1, 2, 0)], "shape"), ([own*np.nan], "floats in")):
        with pytest.raises(ValueError, match=f"`textures`.*{told}"): frost(textures=wrong)


# Spatter

# mean, σ, blur and threshold of CIFAR-C's water; OpenCV's edge pixels, mean distance up to 20, mean glint of 20 images
OPENCV = (((.62, .1, .7, .7), 1755, 3.358306, .00973706), ((.65, .1, .8, .7), 3023, 1.940057, .03068882),
          ((.65, .3, 1, .69), 5233, 1.108316, .06693091))


def test_spatter_has_opencvs_edges_and_rims():
    """Edges, distances and glints of one liquid are those that OpenCV 5.0.0 gives.

    `cv2.Canny(liquid, 50, 150)`, `cv2.distanceTransform(255 - edges, cv2.DIST_L2, 5)`, and the published steps to m."""
    from fragility_nb.stress.weather import _distance, _edges, _water
    noise = CounterStreams("liquid", index=range(20)).normal(1, 32, 32)
    for (mean, sigma, blur, threshold), count, distance, glint in OPENCV:
        liquid = gaussian_filter(noise*sigma + mean, blur, "nearest")
        liquid = torch.where(liquid < threshold, 0., liquid)
        levels = (liquid*255).floor().clamp(0, 255)
        edges = _edges(levels)
        assert int(edges.sum()) == count
        assert float(_distance(edges).double().mean()) == pytest.approx(distance, abs=1e-4)
        m = _water(torch.zeros(20, 3, 32, 32), liquid, 1.)[:, 1]/(238/255)
        assert float(m.double().mean()) == pytest.approx(glint, rel=1e-4)


# Random streams

def test_streams_are_independent_of_company():
    whole = CounterStreams("a", 2., 3, index=range(100))
    parts = CounterStreams("a", 2., 3, index=torch.tensor([70, 3]))
    for draw in ("normal", "uniform"):
        for shape in ((3, 5, 7), (1,)):
            assert torch.equal(getattr(whole, draw)(*shape)[[70, 3]], getattr(parts, draw)(*shape))


@pytest.mark.parametrize("draw, distribution", [("normal", stats.norm), ("uniform", stats.uniform)])
def test_streams_have_their_distribution(draw, distribution):
    a = getattr(CounterStreams("test", index=range(300)), draw)(333).numpy()
    for sample in (a.ravel(), a[:, 0], a[:, -1], a[0]): assert stats.kstest(sample, distribution.cdf).pvalue > 1e-3
    b = getattr(CounterStreams("test", 1, index=range(300)), draw)(333).numpy()
    for x, y in ((a[:, 1:], a[:, :-1]), (a[1:], a[:-1]), (a, b), (a[:, :166], a[:, 166:332])):
        assert abs(np.corrcoef(x.ravel(), y.ravel())[0, 1]) < 4*x.size**-0.5


@pytest.mark.parametrize("rate", [0., 0.3, 3.9, 4.1, 12., 400.])
def test_poisson_numbers(rate):
    k = CounterStreams("poisson", index=range(200)).poisson(torch.full((200, 500), rate)).numpy()
    assert abs(k.mean() - rate) <= 5*(rate/k.size)**0.5
    assert abs(k.var() - rate) <= 5*rate*(2/k.size)**0.5 + 5*(rate/k.size)**0.5
    if rate:
        count = np.bincount(k.astype(int).ravel())
        expected = stats.poisson.pmf(np.arange(len(count)), rate)*k.size
        big = expected > 20
        assert stats.chisquare(count[big], expected[big]*count[big].sum()/expected[big].sum()).pvalue > 1e-4


# Blur, geometry and colour

@pytest.mark.parametrize("border", ["mirror", "reflect", "nearest"])
@pytest.mark.parametrize("size", [8, 33, 130])
def test_gaussian_filter_is_scipys(border, size):
    x = CounterStreams("blur", index=[0]).uniform(2, size, size + 3)
    for sigma, truncate in ((0.4, 4), (1.3, 4), (5, 3), (40, 4)):
        twin = ndimage.gaussian_filter(x.numpy(), (0, 0, sigma, sigma), mode=border, truncate=truncate)
        np.testing.assert_allclose(gaussian_filter(x, sigma, border, truncate), twin, atol=2e-6)
    numpys = dict(mirror="reflect", reflect="symmetric", nearest="edge")[border]
    for margin in (1, 7, 40):
        assert (border_index(size, margin, border).numpy() == np.pad(np.arange(size), margin, mode=numpys)).all()


def moved(stressor, severity, to):
    "Where a bright dot goes that stood at `to` (row, column) of 41 × 41 pixels: its centre of mass."
    x = torch.zeros(1, 1, 41, 41)
    x[0, 0, to[0] - 1:to[0] + 2, to[1] - 1:to[1] + 2] = 1
    return np.array(ndimage.center_of_mass(apply_stress(stressor, x, severity)[0, 0].numpy()))


def test_geometry_goes_where_it_should():
    np.testing.assert_allclose(moved(Translation(2/41), 2, (20, 20)), (20, 24), atol=1e-3)
    np.testing.assert_allclose(moved(Translation(2/41, direction=90), 3, (20, 20)), (14, 20), atol=1e-3)
    np.testing.assert_allclose(moved(Rotation(30), 1, (20, 32)), (20 - 12*0.5, 20 + 12*math.cos(math.pi/6)), atol=0.05)
    np.testing.assert_allclose(moved(Scale(0.5), 1, (8, 20)), (14, 20), atol=0.05)
    np.testing.assert_allclose(moved(Shear(45/2), 2, (14, 20)), (14, 26), atol=0.15)
    assert moved(Perspective(0.2), 2, (5, 10))[1] > 12 and abs(moved(Perspective(0.2), 2, (5, 20))[1] - 20) < 0.1
    x = photographs(24)
    for s in (Translation(1e-6), Scale(1 + 1e-6), Shear(1e-6), Perspective(1e-6), Rotation(1e-6), Hue(1e-6)):
        assert (apply_stress(s, x, 1) - x).abs().max() < 1e-3


def test_occlusion_covers_its_share():
    x = torch.ones(4000, 1, 20, 20)
    y = apply_stress(Occlusion(0.1, value=0.), x, 3)
    assert ((y == 0).flatten(1).sum(1) == 36).all()
    assert (y == 0).any(0).all(), "every pixel is covered in some image"
    assert (apply_stress(Occlusion(0.25), x, 4) == 0).all()


def test_hue_turns_the_circle():
    x = photographs(16)
    turned = x
    for _ in range(3): turned = apply_stress(Hue(120), turned, 1)
    assert (turned - x).abs().max() < 2e-3
    red = torch.tensor([1., 0, 0]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    assert torch.allclose(apply_stress(Hue(120), red, 1)[0, :, 0, 0], torch.tensor([0., 1, 0]), atol=1e-5)
    grey = torch.rand(1, 1, 5, 5)
    assert torch.equal(apply_stress(Hue(), grey, 2), grey)


def test_presets_of_bartschat():
    x = photographs(32)
    for sigma in BARTSCHAT_SIGMAS[:5]:
        assert abs((apply_stress(BARTSCHAT_NOISE, x, sigma) - x).std()/(sigma/2) - 1) < 0.05
    assert apply_stress(BARTSCHAT_NOISE, x, 5).min() < -1, "not clipped"
    assert BARTSCHAT_BLUR.strength(5) == 5


# Chains

def test_a_chain_is_one_after_the_other():
    x, a, b = photographs(16), GaussianBlur(0.5), Rotation(5)
    chain = a >> b
    assert repr(chain) == f"{a!r} >> {b!r}" == stress_id(chain) and chain.name == "gaussian_blur >> rotation"
    assert torch.equal(apply_stress(chain, x, 2), apply_stress(b, apply_stress(a, x, 2), 2))
    assert (a >> b) >> a == a >> (b >> a) == Chain((a, b, a))
    assert chain.strengths(2) == (1., 10.) and chain.strength(2) == 2
    assert not chain.random and (a >> GaussianNoise()).random and chain.clip and not (BARTSCHAT_NOISE >> b).clip
    assert apply_stress(chain, x, 0) is x


def test_the_parts_of_a_chain_draw_their_own_numbers():
    x = torch.full((2, 1, 32, 32), 0.5)
    twice = apply_stress(GaussianNoise(0.01) >> GaussianNoise(0.01), x, 1) - x
    assert abs(twice.std()/(0.01*2**0.5) - 1) < 0.05
    chain = STRESSORS["fog"]() >> GaussianNoise(0.05)
    y = apply_stress(chain, photographs(32, 4), 2)
    assert torch.equal(apply_stress(chain, photographs(32, 4)[2:3], 2, index=[2])[0], y[2])
    assert "fog" in chain.name and chain.unit


def test_a_function_may_be_part_of_a_chain():
    def invert(x, severity, streams): return 1 - x
    x = photographs(16)
    assert torch.equal(apply_stress(GaussianBlur() >> invert, x, 1), 1 - apply_stress(GaussianBlur(), x, 1))
    assert torch.allclose(apply_stress(invert >> GaussianBlur(), x, 1), 1 - apply_stress(GaussianBlur(), x, 1),
                          atol=1e-5)
    with pytest.raises(TypeError, match="part of a chain"): GaussianBlur() >> 3


# Bad input

X = torch.rand(2, 3, 8, 8)
WRONG = {
    "negative sigma": (lambda: GaussianNoise(-1), "`sigma`.*larger than 0"),
    "sigma of text": (lambda: GaussianBlur("1"), "`sigma`"),
    "angle": (lambda: Rotation(270), "`degrees`.*180"), "factor 1": (lambda: Scale(1.), "`factor`"),
    "tilt": (lambda: Perspective(0), "`tilt`"),
    "side": (lambda: Occlusion(2), "`side`"),
    "too large a side": (lambda: apply_stress(Occlusion(0.5), X, 3), "severity × side"),
    "constants": (lambda: STRESSORS["fog"]("imagenett"), "Unknown `constants`.*Did you mean 'imagenet'"),
    "name": (lambda: STRESSORS["frog"], "Did you mean 'fog'"),
    "severity 6": (lambda: apply_stress(STRESSORS["fog"](), X, 6), "`severity`.*between 0 and 5, but got 6"),
    "negative severity": (lambda: apply_stress(STRESSORS["fog"](), X, -1), "`severity`"),
    "strength": (lambda: STRESSORS["jpeg"]("cifar").strength(5.5), "`severity`"),
    "NaN severity": (lambda: apply_stress(GaussianNoise(), X, math.nan), "`severity`"),
    "uint8": (lambda: apply_stress(GaussianNoise(), (X*255).byte(), 1), "float32.*uint8.*/255"),
    "0–255": (lambda: apply_stress(GaussianNoise(), X*255, 1), r"\[0, 1\]"),
    "three dims": (lambda: apply_stress(GaussianNoise(), X[0], 1), r"\(N, C, H, W\)"),
    "array": (lambda: apply_stress(GaussianNoise(), X.numpy(), 1), "torch.Tensor"),
    "index": (lambda: apply_stress(GaussianNoise(), X, 1, index=[0]), "`index` to name 2 places"),
    "shape": (lambda: apply_stress(lambda x, s, r: x[..., :4], X, 1), r"to return \(2, 3, 8, 8\)"),
    "dtype": (lambda: apply_stress(lambda x, s, r: x.double(), X, 1), "float64"),
    "NaN": (lambda: apply_stress(lambda x, s, r: x*math.nan, X, 1), "NaN"),
    "range": (lambda: apply_stress(lambda x, s, r: x + 0.1, X*0 + 1, 1), "stay in"),
    "class": (lambda: apply_stress(GaussianNoise, X, 1), r"the class GaussianNoise: call it"),
    "an attack": (lambda: apply_stress(FGSM(0.1), X, 1), "attack_images"),
    "no function": (lambda: apply_stress("fog", X, 1), "a stressor or a function, but got 'fog'"),
    "none": (lambda: apply_stress(lambda x, s, r: None, X, 1), "NoneType"),
    "border": (lambda: gaussian_filter(X, 1., "mirrored"), "Did you mean 'mirror'"),
}


@pytest.mark.parametrize("what", WRONG)
def test_bad_input_is_one_clear_error(what):
    call, message = WRONG[what]
    with pytest.raises((ValueError, TypeError), match=message): call()


def test_every_stressor_can_be_listed():
    for name, cls in STRESSORS.items():
        stressor = cls()
        assert stressor.unit and np.isfinite(stressor.strength(1)) and cls.__doc__ and stressor.name == name
        assert eval(repr(stressor), {cls.__name__: cls}) == stressor and isinstance(stressor, Stressor)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", STRESSORS)
def test_a_gpu_gives_the_same_images(name):
    stressor = STRESSORS[name]()
    for x in (photographs(32, 3), photographs(96), photographs(28)[:, :1].contiguous()):
        here, there = apply_stress(stressor, x, 2), apply_stress(stressor, x.cuda(), 2)
        assert there.is_cuda and (here - there.cpu()).abs().mean() < 1e-3


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", [*ALL, "rain"])
def test_cores_do_not_change_images(name, two_threads):
    x, stressor = torch.rand(5, 3, 120, 120, generator=torch.Generator().manual_seed(0)), STRESSORS[name]()
    many = apply_stress(stressor, x, 3, index=[4, 1, 9, 0, 7])
    assert torch.equal(apply_stress(stressor, x[1:2], 3, index=[1]), many[1:2])
    torch.set_num_threads(1)
    assert torch.equal(apply_stress(stressor, x, 3, index=[4, 1, 9, 0, 7]), many)


@pytest.mark.parametrize("name", [*ALL, "rain"])
def test_memory_layout_does_not_change_images(name):
    x = torch.rand(2, 3, 40, 36, generator=torch.Generator().manual_seed(0))
    turned = x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    torch.testing.assert_close(apply_stress(STRESSORS[name](), turned, 3), apply_stress(STRESSORS[name](), x, 3),
                               atol=1e-5, rtol=0)


def test_parts_keep_the_gradient_modes(monkeypatch):
    monkeypatch.setattr(Stressor, "part", 64)
    x = torch.rand(4, 1, 8, 8)
    with torch.inference_mode(): assert apply_stress(GaussianNoise(), x, 1).is_inference()
    y = x.clone().requires_grad_()
    apply_stress(GaussianBlur(1.), y, 1).sum().backward()
    assert y.grad is not None and torch.allclose(y.grad.sum(), torch.tensor(256.), rtol=1e-3)
