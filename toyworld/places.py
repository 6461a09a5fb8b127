"""Painted places: the textured backgrounds of the toy world.

A place is a still picture, wider than the camera's view, that a seed, a scenery and a hue define
completely. Sceneries differ in layout, hues in colour, and both have the statistics that shot
detectors were trained on: large soft areas, edges at every scale, fractal texture.
"""

import colorsys

import cv2
import numpy as np

# Share of the saturation that places keep, so that the shapes in front stay the brightest colours.
MUTED = 0.75

Image = np.ndarray  # float32, (height, width, 3), RGB in [0, 1]; what paint() returns is uint8


def colour(hue: float, saturation: float, value: float) -> Image:
    """Return one RGB colour in [0, 1], shape (3,); `hue` is in turns of the wheel."""
    return np.array(colorsys.hsv_to_rgb(hue % 1.0, MUTED * saturation, value), np.float32)


def fractal(
    rng: np.random.Generator, height: int, width: int, cell: float, stretch: float = 1.0
) -> Image:
    """Return fractal noise, (height, width), mean 0 and standard deviation 1.

    `cell` is the size of the largest blobs in pixels, `stretch` how much wider than high they are.
    """
    total = np.zeros((height, width), np.float32)
    weight = 1.0
    while cell >= 2:
        rows = max(2, round(height / cell) + 1)
        columns = max(2, round(width / (cell * stretch)) + 1)
        grid = rng.standard_normal((rows, columns), dtype=np.float32)
        total += weight * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        cell, weight = cell / 2, weight * 0.6
    return (total - total.mean()) / (total.std() + 1e-6)


def ramp(height: int, width: int, top: Image, bottom: Image) -> Image:
    """Return a vertical gradient between two colours."""
    t = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    return np.broadcast_to(top * (1 - t) + bottom * t, (height, width, 3)).copy()


def speckle(image: Image, noise: Image, strength: float) -> Image:
    """Return an image, or one colour, made lighter and darker by noise, (height, width)."""
    return image * (1 + strength * noise[..., None])


def paint_sky(rng: np.random.Generator, height: int, width: int, hue: float) -> Image:
    """Return a sky, light at the horizon, with clouds."""
    sky = ramp(height, width, colour(hue, 0.45, 0.72), colour(hue + 0.06, 0.22, 0.95))
    clouds = np.clip(fractal(rng, height, width, height / 2, 2.5) * 0.35 - 0.05, 0, 0.6)[..., None]
    return sky * (1 - clouds) + clouds * colour(hue + 0.1, 0.06, 1.0)


def paint_hills(rng: np.random.Generator, height: int, width: int, hue: float) -> Image:
    image = paint_sky(rng, height, width, hue + rng.choice([0.0, 0.12]))
    rows = np.arange(height)[:, None]
    for depth in range(4):
        value = 0.62 - 0.13 * depth
        ridge = fractal(rng, 1, width, width / (2 + depth))[0] * min(height, width)
        skyline = height * (0.38 + 0.155 * depth) + ridge * (0.085 - 0.012 * depth)
        grass = fractal(rng, height, width, 6 + 5 * depth, 1.6)
        ground = speckle(colour(hue + 0.03 * depth, 0.3 + 0.09 * depth, value), grass, 0.08)
        image = np.where((rows > skyline)[..., None], ground, image)
    return image


def paint_sea(rng: np.random.Generator, height: int, width: int, hue: float) -> Image:
    horizon = round(height * rng.uniform(0.24, 0.32))  # seen from a cliff, unlike the hills
    sky = paint_sky(rng, horizon, width, hue)
    water = ramp(height - horizon, width, colour(hue, 0.35, 0.7), colour(hue + 0.04, 0.6, 0.35))
    waves = fractal(rng, height - horizon, width, 16, 5)
    image = np.concatenate([sky, speckle(water, waves, 0.17)])
    sun = (int(width * rng.uniform(0.3, 0.7)), round(horizon * rng.uniform(0.5, 0.8)))
    glow = np.zeros((height, width), np.float32)
    cv2.circle(glow, sun, round(height * 0.06), 1.0, -1, cv2.LINE_AA)
    glitter = np.exp(-(((np.arange(width) - sun[0]) / (height * 0.16)) ** 2)).astype(np.float32)
    glow[horizon:] = 0.55 * glitter * np.clip(waves, 0, 1.5)
    image += np.clip(glow, 0, 1)[..., None] * (colour(hue + 0.5, 0.15, 1.0) - image) * 0.9
    shore = height * rng.uniform(0.82, 0.9) + fractal(rng, 1, width, width / 2)[0] * height * 0.03
    sand = speckle(colour(hue + 0.45, 0.3, 0.72), fractal(rng, height, width, 5), 0.07)
    return np.where((np.arange(height)[:, None] > shore)[..., None], sand, image)


def paint_room(rng: np.random.Generator, height: int, width: int, hue: float) -> Image:
    unit = min(height, width)
    floor = round(height * rng.uniform(0.66, 0.76))
    image = ramp(height, width, colour(hue, 0.36, 0.74), colour(hue, 0.4, 0.56))
    stripe = width / rng.integers(22, 34)
    stripes = np.sign(np.sin(2 * np.pi * np.arange(width) / stripe)).astype(np.float32)
    image = speckle(image, stripes[None], 0.045)
    planks = ramp(height - floor, width, colour(hue + 0.09, 0.5, 0.3), colour(hue + 0.09, 0.5, 0.5))
    image[floor:] = speckle(planks, fractal(rng, height - floor, width, 7, 9), 0.14)
    image[floor - 3 : floor] = colour(hue, 0.2, 0.85)
    x = width * rng.uniform(0.02, 0.08)
    while x < width * 0.94:
        wide, high = unit * rng.uniform(0.14, 0.3), unit * rng.uniform(0.2, 0.38)
        top = height * rng.uniform(0.1, 0.24)
        a, b = (round(x), round(top)), (min(width, round(x + wide)), round(top + high))
        window = rng.random() < 0.45
        inside = colour(hue + (0.08 if window else 0.5), 0.16, 0.97 if window else 0.42)
        cv2.rectangle(image, a, b, inside.tolist(), -1)
        if not window:
            patch = image[a[1] : b[1], a[0] : b[0]]
            patch += 0.12 * fractal(rng, b[1] - a[1], b[0] - a[0], 20)[..., None]
        cv2.rectangle(image, a, b, colour(hue, 0.45, 0.25).tolist(), 3, cv2.LINE_AA)
        if window:
            middle = (a[0] + b[0]) // 2
            cv2.line(image, (middle, a[1]), (middle, b[1]), colour(hue, 0.45, 0.3).tolist(), 2)
        x += wide + unit * rng.uniform(0.1, 0.25)
    for _ in range(3):
        left, wide = width * rng.uniform(0, 0.9), width * rng.uniform(0.06, 0.16)
        top = floor - height * rng.uniform(0.06, 0.2)
        corner = (round(left + wide), round(floor + height * 0.08))
        wood = colour(hue + rng.uniform(0.02, 0.14), 0.45, rng.uniform(0.2, 0.5))
        cv2.rectangle(image, (round(left), round(top)), corner, wood.tolist(), -1)
    return speckle(image, fractal(rng, height, width, height / 1.5), 0.06)


def paint_city(rng: np.random.Generator, height: int, width: int, hue: float) -> Image:
    image = paint_sky(rng, height, width, hue)
    unit = min(height, width)
    for depth in range(2):
        x = -width * rng.uniform(0, 0.05)
        while x < width:
            wide = unit * rng.uniform(0.09, 0.2)
            top = height * (rng.uniform(0.12, 0.45) + 0.16 * depth)
            tint = hue + rng.uniform(-0.05, 0.05)
            wall = colour(tint, 0.32, rng.uniform(0.5, 0.62) - 0.22 * depth)
            a, b = (round(x), round(top)), (round(x + wide), height)
            cv2.rectangle(image, a, b, wall.tolist(), -1)
            pitch = unit * rng.uniform(0.035, 0.055)
            for wy in np.arange(top + pitch, height * 0.88, pitch * 1.5):
                for wx in np.arange(x + pitch * 0.6, x + wide - pitch, pitch * 1.3):
                    lit, dark = (hue + 0.5, 0.3, 0.95), (hue, 0.3, 0.2 + 0.1 * depth)
                    pane = colour(*(lit if rng.random() < 0.35 else dark))
                    corner = (round(wx + pitch * 0.7), round(wy + pitch * 0.8))
                    cv2.rectangle(image, (round(wx), round(wy)), corner, pane.tolist(), -1)
            x += wide * rng.uniform(0.9, 1.35)
    street = round(height * 0.88)
    asphalt = ramp(height - street, width, colour(hue, 0.12, 0.3), colour(hue, 0.1, 0.45))
    image[street:] = speckle(asphalt, fractal(rng, height - street, width, 6, 3), 0.1)
    return image


def paint_forest(rng: np.random.Generator, height: int, width: int, hue: float) -> Image:
    image = ramp(height, width, colour(hue, 0.5, 0.42), colour(hue + 0.08, 0.45, 0.3))
    image = speckle(image, fractal(rng, height, width, height / 4), 0.4)
    light = np.clip(fractal(rng, height, width, height / 6) - 0.9, 0, 1)[..., None]
    image += light * (colour(hue + 0.1, 0.35, 1.0) - image) * 0.8
    bark = fractal(rng, height, width, 24, 0.2)
    for depth in range(3):
        for _ in range(9 - 2 * depth):
            half = width * rng.uniform(0.006, 0.012) * (1 + depth)
            lean = rng.uniform(-0.04, 0.04) * width
            middle = rng.uniform(0, width) + np.linspace(0, lean, height)[:, None]
            across = (np.arange(width) - middle) / half
            trunk = colour(hue + 0.35, 0.3, 0.5 - 0.13 * depth) * (1 - 0.45 * across[..., None])
            trunk = speckle(trunk.astype(np.float32), bark, 0.14)
            image = np.where((np.abs(across) < 1)[..., None], trunk, image)
    ground = height * 0.84 + fractal(rng, 1, width, width / 4)[0] * height * 0.025
    leaves = speckle(colour(hue + 0.05, 0.55, 0.36), fractal(rng, height, width, 8, 1.5), 0.25)
    return np.where((np.arange(height)[:, None] > ground)[..., None], leaves, image)


def paint_bricks(rng: np.random.Generator, height: int, width: int, hue: float) -> Image:
    high = height / rng.uniform(9, 13)
    wide = high * 2.3
    row = np.floor(np.arange(height) / high).astype(int)[:, None]
    x = np.arange(width)[None] / wide + 0.5 * (row % 2)
    column = np.floor(x).astype(int)
    shades = rng.uniform(-1, 1, (row.max() + 1, column.max() + 1)).astype(np.float32)
    image = speckle(colour(hue, 0.45, 0.6), shades[row, column], 0.22)
    y = np.arange(height)[:, None] / high
    mortar = (x - column < 0.07) | (y - np.floor(y) < 0.14)
    image = np.where(mortar[..., None], colour(hue + 0.05, 0.12, 0.82), image)
    for _ in range(3):
        left, top = width * rng.uniform(0.05, 0.85), height * rng.uniform(0.1, 0.5)
        a = (round(left), round(top))
        b = (round(left + width * rng.uniform(0.07, 0.12)), round(top + height * 0.42))
        cv2.rectangle(image, a, b, colour(hue + 0.5, 0.4, rng.uniform(0.2, 0.4)).tolist(), -1)
        cv2.rectangle(image, a, b, colour(hue, 0.1, 0.92).tolist(), 4)
    return speckle(image, fractal(rng, height, width, height / 1.5), 0.14)


def paint_mosaic(rng: np.random.Generator, height: int, width: int, hue: float) -> Image:
    count = int(rng.integers(90, 130))
    points = rng.uniform((0, 0), (width, height), (count, 2)).astype(np.float32)
    mask = np.full((height, width), 255, np.uint8)
    mask[points[:, 1].astype(int), points[:, 0].astype(int)] = 0
    distance, labels = cv2.distanceTransformWithLabels(
        mask, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_CCOMP
    )
    shades = [
        colour(hue + rng.uniform(-0.07, 0.07), rng.uniform(0.2, 0.55), rng.uniform(0.3, 0.9))
        for _ in range(labels.max() + 1)
    ]
    image = np.stack(shades)[labels]
    neighbours = np.ones((3, 3), np.uint8)
    edges = cv2.morphologyEx(labels.astype(np.float32), cv2.MORPH_GRADIENT, neighbours)
    image = np.where((edges > 0)[..., None], colour(hue + 0.5, 0.25, 0.22), image)
    return speckle(image, 0.5 * fractal(rng, height, width, 10) - distance / height, 0.14)


def paint_shelf(rng: np.random.Generator, height: int, width: int, hue: float) -> Image:
    image = np.broadcast_to(colour(hue, 0.5, 0.16), (height, width, 3)).copy()
    boards = int(rng.integers(3, 5))
    pitch = height / boards
    for board in range(boards):
        bottom = (board + 1) * pitch
        x = 0.0
        while x < width:
            wide = pitch * rng.uniform(0.09, 0.24)
            top = bottom - pitch * rng.uniform(0.5, 0.86)
            if rng.random() < 0.88:
                tint = hue + rng.uniform(-0.1, 0.1)
                book = colour(tint, rng.uniform(0.25, 0.6), rng.uniform(0.35, 0.95))
                a, b = (round(x), round(top)), (round(x + wide) - 2, round(bottom - 2))
                cv2.rectangle(image, a, b, book.tolist(), -1)
                band = round(top + (bottom - top) * rng.uniform(0.1, 0.3))
                cv2.line(image, (a[0], band), (b[0], band), (book * 0.5).tolist(), 2)
            x += wide
        plank = slice(round(bottom - pitch * 0.07), round(bottom))
        image[plank] = colour(hue + 0.04, 0.45, 0.55)
    return speckle(image, fractal(rng, height, width, height / 2), 0.16)


def paint_wall(rng: np.random.Generator, height: int, width: int, hue: float) -> Image:
    """A wall in the light of a lamp: from one colour to another, with a little of dirt."""
    angle = rng.uniform(0, 2 * np.pi)
    down, across = np.mgrid[-0.5 : 0.5 : height * 1j, -0.5 : 0.5 : width * 1j]
    t = np.clip(0.5 + np.cos(angle) * across + np.sin(angle) * down, 0, 1).astype(np.float32)
    dark = colour(hue + rng.uniform(-0.04, 0.04), rng.uniform(0.3, 0.6), rng.uniform(0.2, 0.5))
    light = colour(hue + rng.uniform(-0.04, 0.04), rng.uniform(0.2, 0.5), rng.uniform(0.6, 0.9))
    image = dark * (1 - t[..., None]) + light * t[..., None]
    return speckle(image, fractal(rng, height, width, height / 2), 0.06)


WALL = "wall"  # the plain background of the stories
PAINTERS = {
    "hills": paint_hills,
    "room": paint_room,
    "city": paint_city,
    "forest": paint_forest,
    "sea": paint_sea,
    "bricks": paint_bricks,
    "mosaic": paint_mosaic,
    "shelf": paint_shelf,
    WALL: paint_wall,
}
SCENERIES = [scenery for scenery in PAINTERS if scenery != WALL]


def paint(seed: list[int], scenery: str, hue: float, height: int, width: int) -> np.ndarray:
    """Return a place as uint8 RGB, (height, width, 3): the same arguments, the same picture."""
    rng = np.random.default_rng(seed)
    image: Image = PAINTERS[scenery](rng, height, width, hue) * rng.uniform(0.88, 1.08)
    # Lenses and compression leave no step edges in real footage.
    image = cv2.GaussianBlur(image.astype(np.float32), (0, 0), height / 300)
    return np.clip(image * 255, 0, 255).astype(np.uint8)
