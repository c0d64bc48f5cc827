"""Contrast randomization: what makes a network that saw only synthetic CT work on real CT."""

from dataclasses import dataclass

import numpy as np

from training.anatomy import Anatomy, Tissue, blurred, smooth_noise
from training.shapes import Field


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

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Contrast":
        """Another scanner, protocol and patient: bone from almost invisible to glaring."""
        trabecular = float(rng.uniform(60, 420))
        return cls(
            cortex=float(max(trabecular * rng.uniform(1.0, 1.3), rng.uniform(280, 1500))),
            trabecular=trabecular,
            cortex_mm=float(rng.uniform(0.6, 2.2)),
            texture=float(rng.uniform(5, 90)),
            muscle=float(rng.uniform(30, 80)),
            fat=float(rng.uniform(-120, -60)),
            disc=float(rng.uniform(50, 140)),
            vessel=float(rng.choice([rng.uniform(30, 70), rng.uniform(100, 400)])),
            tooth=float(rng.uniform(1200, 2900)),
            psf_mm=float(rng.uniform(0.2, 1.0)),
            sharpening=float(max(0.0, rng.uniform(-0.6, 1.4))),
            noise=float(np.exp(rng.uniform(np.log(4), np.log(90)))),
            noise_grain=float(rng.uniform(0.0, 1.2)),
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
        return table


def paint(
    anatomy: Anatomy, contrast: Contrast, spacing_mm: tuple[float, float, float], rng: np.random.Generator
) -> Field:
    """The CT of an anatomy under a contrast, in HU (float32, not rounded).

    Works on whole volumes and on stacks of slices; an axis of fewer than eight voxels is left out of blur and grain.
    """
    shape = anatomy.labels.shape
    wide = tuple(0.0 if count < 8 else 1.0 / step for count, step in zip(shape, spacing_mm, strict=True))
    soft = contrast.soft_tissues()[anatomy.tissue]
    soft += contrast.muscle * 0.25 * smooth_noise(shape, tuple(max(1.0, 6 * w) for w in wide), rng)
    inward = np.maximum(-anatomy.depth_mm, 0)
    shell = np.exp(-((inward / np.float32(contrast.cortex_mm)) ** 2))
    grain = smooth_noise(shape, tuple(max(1.0, 1.6 * w) for w in wide), rng)
    bone = (
        contrast.trabecular + (contrast.cortex - contrast.trabecular) * shell + contrast.texture * grain * (1 - shell)
    )
    wide_steps = [step for count, step in zip(shape, spacing_mm, strict=True) if count >= 8]
    voxel_mm = max(wide_steps or spacing_mm)
    share = np.clip(0.5 - anatomy.depth_mm / np.float32(voxel_mm), 0, 1)
    hu = blurred(soft + (bone - soft) * share, tuple(contrast.psf_mm * w for w in wide))
    if contrast.sharpening > 0:
        hu += np.float32(contrast.sharpening) * (hu - blurred(hu, tuple(1.0 * w for w in wide)))
    noise = rng.standard_normal(shape, dtype=np.float32)
    if contrast.noise_grain > 0.25:
        noise = blurred(noise, tuple(contrast.noise_grain * w for w in wide))
        noise /= np.float32(max(float(noise.std()), 1e-3))
    return np.asarray(hu + contrast.noise * noise, dtype=np.float32)
