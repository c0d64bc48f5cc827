"""The answer for one image as a picture: the image, the evidence in color, and the words that belong to it."""

import io

import numpy as np
from PIL import Image, ImageDraw

from model.image_decoding import Picture
from model.image_predictor import ImagePrediction

LEAST_SIDE = 384
WORDS_HEIGHT = 58
OPACITY = 0.55
NOT_A_DEVICE = "Research software, not a medical device. A map shows what moved the network, not a fracture's outline."


def overlay_png(picture: Picture, prediction: ImagePrediction) -> bytes:
    """PNG bytes: the image with the evidence in yellow to red where a fracture is suspected, and the answer below."""
    gray = np.clip(picture.gray, 0, 1)
    shown = 1.0 if prediction.findings.fractured else 0.0
    heat = np.asarray(prediction.overlay, dtype=np.float32) * np.float32(shown / 255)
    share = (OPACITY * heat)[..., None]
    color = np.stack([np.ones_like(heat), 1 - heat, np.zeros_like(heat)], axis=-1)
    pixels = np.rint(255 * (gray[..., None] * (1 - share) + color * share)).astype(np.uint8)
    image = Image.fromarray(pixels)
    scale = max(1, round(LEAST_SIDE / max(1, min(image.size))))
    image = image.resize((image.width * scale, image.height * scale), Image.Resampling.BILINEAR)
    canvas = Image.new("RGB", (max(image.width, 640), image.height + WORDS_HEIGHT), "black")
    canvas.paste(image, ((canvas.width - image.width) // 2, 0))
    draw = ImageDraw.Draw(canvas)
    for row, line in enumerate((*_answer(prediction), NOT_A_DEVICE)):
        draw.text((6, image.height + 4 + 17 * row), line, fill="white")
    content = io.BytesIO()
    canvas.save(content, format="PNG")
    return content.getvalue()


def _answer(prediction: ImagePrediction) -> tuple[str, str]:
    """The findings in two lines."""
    findings = prediction.findings
    said = "fracture suspected" if findings.fractured else "no fracture suspected"
    levels = ", ".join(f"{one.vertebra.name} {one.probability:.2f}" for one in findings.levels[:3]) or "not given"
    threshold = f"threshold {findings.threshold:.2f}"
    return f"{said} (probability {findings.probability:.2f}, {threshold})", f"level by probability: {levels}"
