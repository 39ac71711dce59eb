"""The common corruptions, one image at a time, as their publication states them: NumPy, SciPy, scikit-image and PIL.

Images are float (H, W, 3) in [0, 1]. `draw` gives the random numbers: `uniform(*shape)` in [0, 1), `normal(*shape)`,
`poisson(rate)`; by it a test can hand over the very numbers that the package drew. Constants: `IMAGENET`, `TINY`,
`CIFAR`.
Source of formulas and constants: Hendrycks & Dietterich, *Benchmarking neural network robustness to common corruptions
and perturbations*, ICLR 2019, with the authors' published scripts; motion blur without ImageMagick as in
imagecorruptions.
"""
import io
import math

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage import color, transform
from skimage.filters import gaussian

IMAGENET = dict(
    gaussian_noise_c=[.08, .12, .18, .26, .38], shot_noise=[60, 25, 12, 5, 3], impulse_noise=[.03, .06, .09, .17, .27],
    speckle_noise=[.15, .2, .35, .45, .6], gaussian_blur_c=[1, 2, 3, 4, 6],
    glass_blur=[(.7, 1, 2), (.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)],
    defocus_blur=[(3, .1), (4, .5), (6, .5), (8, .5), (10, .5)],
    motion_blur=[(10, 3), (15, 5), (15, 8), (15, 12), (20, 15)],
    zoom_blur=[(1.11, .01), (1.16, .01), (1.21, .02), (1.26, .02), (1.31, .03)],
    fog=[(1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)],
    snow=[(.1, .3, 3, .5, 10, 4, .8), (.2, .3, 2, .5, 12, 4, .7), (.55, .3, 4, .9, 12, 8, .7),
          (.55, .3, 4.5, .85, 12, 8, .65), (.55, .3, 2.5, .85, 12, 12, .55)],
    frost=[(1, .4), (.8, .6), (.7, .7), (.65, .7), (.6, .75)],
    spatter=[(.65, .3, 4, .69, .6, 0), (.65, .3, 3, .68, .6, 0), (.65, .3, 2, .68, .5, 0), (.65, .3, 1, .65, 1.5, 1),
             (.67, .4, 1, .65, 1.5, 1)],
    brightness=[.1, .2, .3, .4, .5], contrast=[.4, .3, .2, .1, .05],
    saturate=[(.3, 0), (.1, 0), (2, 0), (5, .1), (20, .2)],
    elastic=[(244*2, 244*.7, 244*.1), (244*2, 244*.08, 244*.2), (244*.05, 244*.01, 244*.02),
             (244*.07, 244*.01, 244*.02), (244*.12, 244*.01, 244*.02)],
    pixelate=[.6, .5, .4, .3, .25], jpeg=[25, 18, 15, 10, 7])
TINY = dict(  # hendrycks/robustness, ImageNet-C/create_c/make_tinyimagenet_c.py
    gaussian_noise_c=[.04, .08, .12, .15, .18], shot_noise=[250, 100, 50, 30, 15],
    impulse_noise=[.01, .02, .05, .08, .14], speckle_noise=[.15, .2, .25, .3, .35],
    gaussian_blur_c=[.5, .75, 1, 1.25, 1.5], glass_blur=[(.1, 1, 1), (.5, 1, 1), (.6, 1, 2), (.7, 2, 1), (.9, 2, 2)],
    defocus_blur=[(.5, .6), (1, .1), (1.5, .1), (2.5, .01), (3, .1)],
    motion_blur=[(10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)],
    zoom_blur=[(1.06, .01), (1.11, .01), (1.16, .01), (1.21, .01), (1.26, .01)],
    fog=[(.4, 3), (.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)],
    frost=[(1, .3), (.9, .4), (.8, .45), (.75, .5), (.7, .55)],
    snow=[(.1, .2, 1, .6, 8, 3, .8), (.1, .2, 1, .5, 10, 4, .8), (.15, .3, 1.75, .55, 10, 4, .7),
          (.25, .3, 2.25, .6, 12, 6, .65), (.3, .3, 1.25, .65, 14, 12, .6)],
    spatter=[(.62, .1, .7, .7, .6, 0), (.65, .1, .8, .7, .6, 0), (.65, .3, 1, .69, .6, 0), (.65, .1, .7, .68, .6, 1),
             (.65, .1, .5, .67, .6, 1)],
    contrast=[.4, .3, .2, .1, .05], brightness=[.1, .2, .3, .4, .5],
    saturate=[(.3, 0), (.1, 0), (2, 0), (5, .1), (30, .2)], jpeg=[65, 58, 50, 40, 25], pixelate=[.9, .8, .7, .6, .5],
    elastic=[(64*0, 64*0, 64*.08), (64*.05, 64*.3, 64*.06), (64*.1, 64*.08, 64*.06), (64*.1, 64*.03, 64*.03),
             (64*.16, 64*.03, 64*.02)])
CIFAR = dict(
    gaussian_noise_c=[.04, .06, .08, .09, .10], shot_noise=[500, 250, 100, 75, 50],
    impulse_noise=[.01, .02, .03, .05, .07],
    speckle_noise=[.06, .1, .12, .16, .2], gaussian_blur_c=[.4, .6, .7, .8, 1],
    glass_blur=[(.05, 1, 1), (.25, 1, 1), (.4, 1, 1), (.25, 1, 2), (.4, 1, 2)],
    defocus_blur=[(.3, .4), (.4, .5), (.5, .6), (1, .2), (1.5, .1)],
    motion_blur=[(6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)],
    zoom_blur=[(1.06, .01), (1.11, .01), (1.16, .01), (1.21, .01), (1.26, .01)],
    fog=[(.2, 3), (.5, 3), (.75, 2.5), (1, 2), (1.5, 1.75)],
    snow=[(.1, .2, 1, .6, 8, 3, .95), (.1, .2, 1, .5, 10, 4, .9), (.15, .3, 1.75, .55, 10, 4, .9),
          (.25, .3, 2.25, .6, 12, 6, .85), (.3, .3, 1.25, .65, 14, 12, .8)],
    frost=[(1, .2), (1, .3), (.9, .4), (.85, .4), (.75, .45)],
    spatter=[(.62, .1, .7, .7, .5, 0), (.65, .1, .8, .7, .5, 0), (.65, .3, 1, .69, .5, 0), (.65, .1, .7, .69, .6, 1),
             (.65, .1, .5, .68, .6, 1)],
    brightness=[.05, .1, .15, .2, .3], contrast=[.75, .5, .4, .3, .15],
    saturate=[(.3, 0), (.1, 0), (1.5, 0), (2, .1), (2.5, .2)],
    elastic=[(0, 0, 32*.08), (32*.05, 32*.2, 32*.07), (32*.08, 32*.06, 32*.06), (32*.1, 32*.04, 32*.05),
             (32*.1, 32*.03, 32*.03)],
    pixelate=[.95, .9, .85, .75, .65], jpeg=[80, 65, 58, 50, 40])


def gaussian_noise_c(x, c, draw): return np.clip(x + c*draw.normal(*x.shape), 0, 1)
def shot_noise(x, c, draw): return np.clip(draw.poisson(x*c)/c, 0, 1)
def speckle_noise(x, c, draw): return np.clip(x + x*c*draw.normal(*x.shape), 0, 1)
def gaussian_blur_c(x, c, draw): return gaussian(x, sigma=c, channel_axis=-1, mode="nearest", truncate=4)
def contrast(x, c, draw): return np.clip((x - x.mean((0, 1)))*c + x.mean((0, 1)), 0, 1)
def frost(x, c, draw, ice=None): return np.clip(c[0]*x + c[1]*ice, 0, 1)


def impulse_noise(x, c, draw):
    u, x = draw.uniform(*x.shape), x.copy()
    x[u < c/2], x[u >= 1 - c/2] = 0, 1
    return x


def disk(radius, alias):
    span = np.arange(-8, 9) if radius <= 8 else np.arange(-radius, radius + 1)
    xx, yy = np.meshgrid(span, span)
    k = (xx**2 + yy**2 <= radius**2).astype(float)
    half = 1 if radius <= 8 else 2
    return ndimage.gaussian_filter(k/k.sum(), alias, mode="mirror", radius=half)


def defocus_blur(x, c, draw):
    return np.stack([ndimage.correlate(x[..., i], disk(*c), mode="mirror") for i in range(3)], -1)


def glass_blur(x, c, draw):
    sigma, reach, rounds = c
    x = gaussian(x, sigma=sigma, channel_axis=-1, mode="nearest", truncate=4)
    h, w = x.shape[:2]
    for _ in range(rounds):
        steps = np.floor(draw.uniform(2, h, w)*2*reach).astype(int) - reach
        for i in range(h - reach, reach, -1):
            for j in range(w - reach, reach, -1):
                x[i, j] = x[i + steps[0, i, j], j + steps[1, i, j]]  # the script swaps views of one array: a copy
    return np.clip(gaussian(x, sigma=sigma, channel_axis=-1, mode="nearest", truncate=4), 0, 1)


def trail(x, radius, sigma, angle):
    k = np.exp(-np.arange(2*radius + 1)**2/(2*sigma**2))
    k, out, (h, w) = k/k.sum(), np.zeros_like(x), x.shape[:2]
    for i, weight in enumerate(k):
        down = math.ceil(i*math.sin(math.radians(angle)) - 0.5)
        right = math.ceil(i*math.cos(math.radians(angle)) - 0.5)
        rows, cols = np.clip(np.arange(h) + down, 0, h - 1), np.clip(np.arange(w) + right, 0, w - 1)
        out += weight*x[rows][:, cols]
    return out


def motion_blur(x, c, draw): return np.clip(trail(x, *c, draw.uniform(1)[0]*90 - 45), 0, 1)


def zoomed(x, factor):
    h = x.shape[0]
    near = int(np.ceil(h/factor))
    top = (h - near)//2
    big = ndimage.zoom(x[top:top + near, top:top + near], (factor, factor, 1), order=1)
    cut = (big.shape[0] - h)//2
    return big[cut:cut + h, cut:cut + h]


def zoom_blur(x, c, draw):
    factors = np.arange(1, *c)
    return np.clip((x + sum(zoomed(x, f) for f in factors))/(len(factors) + 1), 0, 1)


def snow(x, c, draw):
    flakes = zoomed(c[0] + c[1]*draw.normal(*x.shape[:2])[..., None], c[2])
    flakes[flakes < c[3]] = 0
    flakes = trail(np.clip(flakes, 0, 1), c[4], c[5], draw.uniform(1)[0]*90 - 135)
    grey = (x @ [.299, .587, .114])[..., None]
    x = c[6]*x + (1 - c[6])*np.maximum(x, grey*1.5 + 0.5)
    return np.clip(x + flakes + np.rot90(flakes, 2), 0, 1)


def plasma(size, decay, draw):
    "Diamond–square in place, level by level."
    a, step, wobble = np.zeros((size, size)), size, 100.
    while step >= 2:
        half, k = step//2, size//step
        noise = (draw.uniform(3, k, k)*2 - 1)*wobble**2
        c = a[::step, ::step]
        square = (c + np.roll(c, -1, 0) + np.roll(c, -1, 1) + np.roll(np.roll(c, -1, 0), -1, 1))/4 + noise[0]
        a[half::step, half::step] = square
        a[::step, half::step] = (c + np.roll(c, -1, 1) + square + np.roll(square, 1, 0))/4 + noise[1]
        a[half::step, ::step] = (c + np.roll(c, -1, 0) + square + np.roll(square, 1, 1))/4 + noise[2]
        step, wobble = half, wobble/decay
    return (a - a.min())/(a.max() - a.min())


def fog(x, c, draw):
    h, w = x.shape[:2]
    cloud = plasma(2**math.ceil(math.log2(max(h, w))), c[1], draw)[:h, :w, None]
    return np.clip((x + c[0]*cloud)*x.max()/(x.max() + c[0]), 0, 1)


def equalised(a):
    "Histogram equalisation of uint8 as OpenCV does it."
    count = np.bincount(a.ravel(), minlength=256)
    first = np.flatnonzero(count)[0]
    if count[first] == a.size: return a.astype(float)
    return np.round((np.cumsum(count) - count[first])*255/(a.size - count[first]))[a]


def canny(a, low, high):
    "Canny's edges as OpenCV draws them: Sobel, |gx| + |gy|, thinned in one of four directions, two thresholds."
    gx, gy = (ndimage.sobel(a, axis, mode="nearest") for axis in (1, 0))
    size = np.pad(abs(gx) + abs(gy), 1)
    thin = np.zeros(a.shape, bool)
    for i, j in np.argwhere(size[1:-1, 1:-1] > low):
        if abs(gy[i, j]) < abs(gx[i, j])*math.tan(math.pi/8): di, dj = 0, 1
        elif abs(gy[i, j]) > abs(gx[i, j])*math.tan(3*math.pi/8): di, dj = 1, 0
        else: di, dj = (1, 1) if gx[i, j]*gy[i, j] > 0 else (1, -1)
        here, before, after = size[i + 1, j + 1], size[i + 1 - di, j + 1 - dj], size[i + 1 + di, j + 1 + dj]
        thin[i, j] = here > before and (here > after if di and dj else here >= after)  # OpenCV's rule at ties
    parts, n = ndimage.label(thin, np.ones((3, 3)))
    strong = np.unique(parts[thin & (size[1:-1, 1:-1] > high)])
    return np.isin(parts, strong[strong > 0])


def chamfer(edges, far=20.):
    "OpenCV's distance with its 5×5 mask: the shortest way of steps 1, 1.4 (diagonal) and 2.1969 (a knight's)."
    length, (h, w) = {1: 1., 2: 1.4, 5: 2.1969}, edges.shape
    steps = [(i, j) for i in range(-2, 3) for j in range(-2, 3) if i*i + j*j in length]
    d, old = np.where(edges, 0., far), None
    while old is None or (d != old).any():
        wide, old = np.pad(d, 2, constant_values=far), d
        for i, j in steps: d = np.minimum(d, wide[2 + i:2 + i + h, 2 + j:2 + j + w] + length[i*i + j*j])
    return d


def spatter(x, c, draw):
    liquid = gaussian(c[0] + c[1]*draw.normal(*x.shape[:2]), sigma=c[2], mode="nearest", truncate=4)
    liquid[liquid < c[3]] = 0
    if c[5]:
        m = gaussian((liquid > c[3]).astype(float), sigma=c[4], mode="nearest", truncate=4)[..., None]
        m[m < 0.8] = 0
        return np.clip(x*(1 - m) + m*np.array([63, 42, 20])/255, 0, 1)
    liquid = np.floor(np.clip(liquid*255, 0, 255))
    edges = canny(liquid, 50, 150)
    dist = equalised(np.floor(ndimage.uniform_filter(chamfer(edges), 3, mode="mirror") + 1e-4).astype(np.uint8))
    dist = np.clip(ndimage.correlate(dist, np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]]), mode="mirror"), 0, 255)
    m = liquid*np.round(ndimage.uniform_filter(dist, 3, mode="mirror"))
    m = c[4]*m/max(m.max(), 1e-6)
    return np.clip(x + m[..., None]*np.array([175, 238, 238])/255, 0, 1)


def brightness(x, c, draw):
    hsv = color.rgb2hsv(x)
    hsv[..., 2] = np.clip(hsv[..., 2] + c, 0, 1)
    return np.clip(color.hsv2rgb(hsv), 0, 1)


def saturate(x, c, draw):
    hsv = color.rgb2hsv(x)
    hsv[..., 1] = np.clip(hsv[..., 1]*c[0] + c[1], 0, 1)
    return np.clip(color.hsv2rgb(hsv), 0, 1)


def elastic(x, c, draw):
    h, w = x.shape[:2]
    made_for = 224 if c in IMAGENET["elastic"] else 64 if c in TINY["elastic"] else 32
    alpha, sigma, move = np.array(c)*min(h, w)/made_for
    centre, r = np.array([w//2, h//2]), min(h, w)//3
    start = centre + r*np.array([[1., 1], [1, -1], [-1, -1]])
    end = start + (draw.uniform(3, 2)*2 - 1)*move
    to = transform.AffineTransform()
    to = to.from_estimate(end, start) if hasattr(to, "from_estimate") else (to.estimate(end, start), to)[1]
    down, right = np.mgrid[:h, :w].astype(float)
    back = to(np.stack([right.ravel(), down.ravel()], 1)).reshape(h, w, 2)
    x = np.stack([ndimage.map_coordinates(x[..., i], [back[..., 1], back[..., 0]], order=1, mode="mirror")
                  for i in range(3)], -1)
    if not alpha: return x
    field = [gaussian(f, sigma=sigma, mode="reflect", truncate=3)*alpha for f in draw.uniform(2, h, w)*2 - 1]
    at = [down + field[1], right + field[0]]
    return np.clip(np.stack([ndimage.map_coordinates(x[..., i], at, order=1, mode="reflect") for i in range(3)], -1),
                   0, 1)


def pil(x): return Image.fromarray(np.round(x*255).astype(np.uint8))


def pixelate(x, c, draw):
    h, w = x.shape[:2]
    small = pil(x).resize((int(w*c), int(h*c)), Image.Resampling.BOX)
    return np.asarray(small.resize((w, h), Image.Resampling.BOX))/255


def jpeg(x, c, draw):
    file = io.BytesIO()
    pil(x).save(file, "JPEG", quality=c)
    return np.asarray(Image.open(file))/255
