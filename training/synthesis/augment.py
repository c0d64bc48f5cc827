"""Contrast randomization: what makes a network that saw only synthetic CT work on real CT."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from training.synthesis.anatomy import Anatomy, Tissue, blurred, smooth_noise
from training.synthesis.shapes import Field


@dataclass(frozen=True, slots=True)
class BoneTexture:
    """How uneven intact bone is; by default it is even.

    ``grain_mm``: size of the fine grain; ``streaks``: HU of trabecular streaks; ``patches``: share by which the marrow
    is denser or emptier in places of ``patch_mm``; ``uneven``: share by which the cortex is thicker or thinner along
    the surface; ``veins``: 0..1, how dark the channels of veins are; ``edge_blur``: width of the bone's edge in voxels.
    """

    grain_mm: float = 1.6
    streaks: float = 0.0
    patches: float = 0.0
    patch_mm: float = 7.0
    uneven: float = 0.0
    veins: float = 0.0
    edge_blur: float = 1.0

    @classmethod
    def random(cls, rng: np.random.Generator) -> "BoneTexture":
        """From even to so rough that intact bone looks eaten."""
        if rng.random() < 0.2:
            return cls()
        streaks, patches, uneven, veins, edge = rng.random(5) ** 1.5
        return cls(
            grain_mm=float(np.exp(rng.uniform(np.log(0.8), np.log(4.0)))),
            streaks=float(160 * streaks),
            patches=float(0.9 * patches),
            patch_mm=float(rng.uniform(3.5, 14)),
            uneven=float(0.75 * uneven),
            veins=float(veins),
            edge_blur=float(1 + 1.2 * edge),
        )


@dataclass(frozen=True, slots=True)
class Contrast:
    """How one scan looks; HU unless the name says otherwise.

    Bone runs smoothly from ``cortex`` at its surface to ``trabecular`` inside over ``cortex_mm``; ``psf_mm`` is the
    width of the scanner's blur, ``sharpening`` the strength of a bone kernel's overshoot.
    """

    cortex: float = 900.0
    trabecular: float = 240.0
    cortex_mm: float = 1.1
    texture: float = 35.0
    muscle: float = 55.0
    fat: float = -95.0
    disc: float = 85.0
    vessel: float = 60.0
    tooth: float = 1900.0
    psf_mm: float = 0.5
    sharpening: float = 0.3
    noise: float = 18.0
    noise_grain: float = 0.6
    metal: float = 3071.0
    vein: float = 60.0
    bone_texture: BoneTexture = field(default_factory=BoneTexture)

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Contrast":
        """Another scanner, protocol and patient: bone from almost invisible to glaring."""
        trabecular, cortex, cortex_mm = _random_bone(rng)
        return cls(
            cortex=cortex,
            trabecular=trabecular,
            cortex_mm=cortex_mm,
            texture=float(rng.uniform(5, 90)),
            muscle=float(rng.uniform(30, 80)),
            fat=float(rng.uniform(-120, -60)),
            disc=float(rng.uniform(50, 140)),
            vessel=float(rng.choice([rng.uniform(30, 70), rng.uniform(100, 450)])),
            tooth=float(rng.uniform(1200, 2900)),
            psf_mm=float(rng.uniform(0.2, 1.0)),
            sharpening=float(max(0.0, rng.uniform(-0.6, 1.4))),
            noise=float(np.exp(rng.uniform(np.log(4), np.log(90)))),
            noise_grain=float(rng.uniform(0.0, 1.2)),
            metal=float(rng.uniform(3100, 7000)),
            vein=float(rng.choice([rng.uniform(30, 70), rng.uniform(80, 250)])),
            bone_texture=BoneTexture.random(rng),
        )

    def soft_tissues(self) -> Field:
        """HU of every ``Tissue``."""
        table = np.zeros(len(Tissue), dtype=np.float32)
        table[Tissue.AIR] = -1000
        table[Tissue.MUSCLE] = self.muscle
        table[Tissue.FAT] = self.fat
        table[Tissue.DISC] = self.disc
        table[Tissue.NERVE] = 25
        table[Tissue.VESSEL] = self.vessel
        table[Tissue.CARTILAGE] = self.muscle + 40
        table[Tissue.BRAIN] = 35
        table[Tissue.TOOTH] = self.tooth
        table[Tissue.TABLE] = -300
        table[Tissue.METAL] = self.metal
        table[Tissue.FOAM] = -930
        table[Tissue.VEIN] = self.vein
        table[Tissue.BONE] = 0.4 * self.cortex + 0.6 * max(self.trabecular, 200)
        return table


def _random_bone(rng: np.random.Generator) -> tuple[float, float, float]:
    """Trabecular HU, cortical HU and cortical thickness (mm): mostly any, else thinned, hollowed out or sclerotic."""
    kind = rng.random()
    if kind < 0.1:  # osteopenic: little mineral everywhere
        trabecular = float(rng.uniform(40, 130))
        return trabecular, float(rng.uniform(280, 600)), float(rng.uniform(0.5, 1.2))
    if kind < 0.2:  # osteoporotic: empty marrow in a thin bright shell
        trabecular = float(rng.uniform(20, 110))
        return trabecular, float(rng.uniform(500, 1200)), float(rng.uniform(0.4, 0.9))
    if kind < 0.26:  # sclerotic: little difference between shell and marrow
        trabecular = float(rng.uniform(400, 750))
        return trabecular, float(trabecular * rng.uniform(1.05, 1.8)), float(rng.uniform(1.0, 3.0))
    trabecular = float(rng.uniform(60, 420))
    cortex = float(max(trabecular * rng.uniform(1.0, 1.3), rng.uniform(280, 1500)))
    return trabecular, cortex, float(rng.uniform(0.6, 2.2))


def paint(
    anatomy: Anatomy, contrast: Contrast, spacing_mm: tuple[float, float, float], rng: np.random.Generator
) -> Field:
    """The CT of an anatomy under a contrast, in HU (float32, not rounded).

    Works on whole volumes and on stacks of slices; an axis of fewer than eight voxels is left out of blur and grain.
    """
    shape = anatomy.labels.shape
    wide = tuple(0.0 if count < 8 else 1.0 / step for count, step in zip(shape, spacing_mm, strict=True))
    mottle = smooth_noise(shape, tuple(max(1.0, 6 * w) for w in wide), rng)
    hu = contrast.soft_tissues()[anatomy.tissue]
    hu += contrast.muscle * 0.25 * mottle
    wide_steps = [step for count, step in zip(shape, spacing_mm, strict=True) if count >= 8]
    edge_mm = np.float32(max(wide_steps or spacing_mm) * contrast.bone_texture.edge_blur)
    where = np.flatnonzero(anatomy.depth_mm.ravel() < edge_mm / 2)
    depth, cleft = (part.ravel()[where].astype(np.float32) for part in (anatomy.depth_mm, anatomy.cleft))
    bone = _bone(np.maximum(-depth, 0), mottle, where, contrast, (wide, rng))
    bone *= 1 - np.minimum(cleft, 0)
    share = np.clip(0.5 - depth / edge_mm, 0, 1) * (1 - np.maximum(cleft, 0))
    share[anatomy.tissue.ravel()[where] == Tissue.METAL] = 0
    flat = hu.ravel()
    flat[where] += (bone - flat[where]) * share
    hu = blurred(flat.reshape(shape), tuple(contrast.psf_mm * w for w in wide))
    if contrast.sharpening > 0:
        hu += np.float32(contrast.sharpening) * (hu - blurred(hu, tuple(1.0 * w for w in wide)))
    noise = rng.standard_normal(shape, dtype=np.float32)
    if contrast.noise_grain > 0.25:
        noise = blurred(noise, tuple(contrast.noise_grain * w for w in wide))
        noise /= np.float32(max(float(noise.std()), 1e-3))
    return np.asarray(hu + contrast.noise * noise, dtype=np.float32)


def _bone(
    inward: Field,
    mottle: Field,
    where: NDArray[np.intp],
    contrast: Contrast,
    frame: tuple[tuple[float, ...], np.random.Generator],
) -> Field:
    """HU of bone at the flat indices ``where``, ``inward`` mm below its surface.

    ``frame``: voxels a mm along each axis (0: not along this axis) and the random generator.
    """
    wide, rng = frame
    texture = contrast.bone_texture
    mottled = mottle.ravel()[where]

    def noise(size_mm: tuple[float, ...]) -> Field:
        cells = tuple(max(1.0, size * w) for size, w in zip(size_mm, wide, strict=True))
        return np.asarray(smooth_noise(mottle.shape, cells, rng).ravel()[where], dtype=np.float32)

    thickness = np.float32(contrast.cortex_mm) * (1 + np.float32(texture.uneven) * mottled)
    shell = np.exp(-((inward / thickness) ** 2))
    marrow = np.float32(contrast.trabecular) + np.float32(contrast.texture) * noise((texture.grain_mm,) * 3)
    if texture.patches > 0 or texture.veins > 0:
        patch = noise((texture.patch_mm,) * 3)
        marrow += np.float32(texture.patches * contrast.trabecular) * patch
        channel = np.exp(-(patch * patch + mottled * mottled) / np.float32(0.02))
        marrow -= np.float32(texture.veins * (contrast.trabecular + 60)) * channel
    if texture.streaks > 0:
        along = int(rng.choice(len(wide), p=(0.5, 0.35, 0.15)))
        marrow += np.float32(texture.streaks) * noise(tuple(4.5 if axis == along else 1.0 for axis in range(len(wide))))
    return np.asarray(np.maximum(marrow + (contrast.cortex - marrow) * shell, -80), dtype=np.float32)
