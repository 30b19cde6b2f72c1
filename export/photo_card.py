"""What the model card says of `photo.onnx`: one call in six languages."""

from __future__ import annotations

from export.edge.model.layout import OPERATORS

PYTHON = """
import os
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the import
import numpy as np, onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession("onnx/photo.onnx")
photo = np.asarray(ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB"))
(picture,) = session.run(["picture"], {"photo": photo, "noise": np.zeros(0, np.float32)})
Image.fromarray(picture).save("result.png")
"""
JAVASCRIPT = """
import * as ort from 'onnxruntime-node'; // in a page: 'onnxruntime-web'

const session = await ort.InferenceSession.create('onnx/photo.onnx');
export async function translate(rgb, height, width) { // Uint8Array, three bytes a pixel, row by row
  const photo = new ort.Tensor('uint8', rgb, [height, width, 3]);
  const noise = new ort.Tensor('float32', new Float32Array(0), [0]);
  const { picture } = await session.run({ photo, noise });
  return picture.data;
}
"""
CPP = """
#include <onnxruntime_cxx_api.h>
#include <vector>

std::vector<uint8_t> translate(Ort::Session& session, std::vector<uint8_t>& rgb, int64_t height, int64_t width) {
  auto memory = Ort::MemoryInfo::CreateCpu(OrtDeviceAllocator, OrtMemTypeDefault);
  int64_t sides[] = {height, width, 3}, none[] = {0};
  float nothing = 0;
  Ort::Value given[] = {Ort::Value::CreateTensor<uint8_t>(memory, rgb.data(), rgb.size(), sides, 3),
                        Ort::Value::CreateTensor<float>(memory, &nothing, 0, none, 1)};
  const char *inputs[] = {"photo", "noise"}, *outputs[] = {"picture"};
  auto made = session.Run(Ort::RunOptions{nullptr}, inputs, given, 2, outputs, 1);
  const uint8_t* first = made[0].GetTensorData<uint8_t>();
  return {first, first + rgb.size()};
}
"""
CSHARP = """
using System.Linq;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;

static byte[] Translate(InferenceSession session, byte[] rgb, int height, int width)
{
    var photo = new DenseTensor<byte>(rgb, new[] { height, width, 3 });
    var noise = new DenseTensor<float>(new[] { 0 });
    using var made = session.Run(new[] {
        NamedOnnxValue.CreateFromTensor("photo", photo), NamedOnnxValue.CreateFromTensor("noise", noise) });
    return made.First().AsTensor<byte>().ToArray();
}
"""
KOTLIN = """
import ai.onnxruntime.*
import java.nio.*

fun translate(session: OrtSession, rgb: ByteArray, height: Long, width: Long): ByteArray {
    val environment = OrtEnvironment.getEnvironment()
    val sides = longArrayOf(height, width, 3)
    val photo = OnnxTensor.createTensor(environment, ByteBuffer.wrap(rgb), sides, OnnxJavaType.UINT8)
    val noise = OnnxTensor.createTensor(environment, FloatBuffer.allocate(0), longArrayOf(0))
    session.run(mapOf("photo" to photo, "noise" to noise)).use { made ->
        return ByteArray(rgb.size).also { (made[0] as OnnxTensor).byteBuffer.get(it) }
    }
}
"""
SWIFT = """
import Foundation
import OnnxRuntimeBindings

func translate(_ session: ORTSession, _ rgb: Data, height: Int, width: Int) throws -> Data {
    let sides: [NSNumber] = [NSNumber(value: height), NSNumber(value: width), 3]
    let photo = try ORTValue(tensorData: NSMutableData(data: rgb), elementType: .uInt8, shape: sides)
    let noise = try ORTValue(tensorData: NSMutableData(), elementType: .float, shape: [0])
    let made = try session.run(
        withInputs: ["photo": photo, "noise": noise], outputNames: ["picture"], runOptions: nil)
    return try made["picture"]!.tensorData() as Data
}
"""
REALISM = "; `realism`, float32 (1), from 0, the mean picture, to 1, the sharpest"
EXAMPLES = {
    "Python": ("python", PYTHON),
    "JavaScript": ("js", JAVASCRIPT),
    "C++": ("cpp", CPP),
    "C#": ("csharp", CSHARP),
    "Kotlin": ("kotlin", KOTLIN),
    "Swift": ("swift", SWIFT),
}
WITH_REALISM = {
    "Python": (
        ('"noise": np.zeros(0, np.float32)}', '"noise": np.zeros(0, np.float32), "realism": np.ones(1, np.float32)}'),
    ),
    "JavaScript": (
        ("[0]);", "[0]);\n  const realism = new ort.Tensor('float32', [1], [1]);"),
        ("{ photo, noise }", "{ photo, noise, realism }"),
    ),
    "C++": (
        ("none[] = {0};\n  float nothing = 0;", "none[] = {0}, one[] = {1};\n  float nothing = 0, realism = 1;"),
        (
            "0, none, 1)};",
            "0, none, 1),\n" + 24 * " " + "Ort::Value::CreateTensor<float>(memory, &realism, 1, one, 1)};",
        ),
        ('"noise"}', '"noise", "realism"}'),
        ("given, 2,", "given, 3,"),
    ),
    "C#": (
        ("{ 0 });", "{ 0 });\n    var realism = new DenseTensor<float>(new[] { 1f }, new[] { 1 });"),
        ('("noise", noise) });', '("noise", noise),\n        NamedOnnxValue.CreateFromTensor("realism", realism) });'),
    ),
    "Kotlin": (
        (
            "longArrayOf(0))",
            "longArrayOf(0))\n    val realism = OnnxTensor.createTensor(environment, "
            "FloatBuffer.wrap(floatArrayOf(1f)), longArrayOf(1))",
        ),
        ('"noise" to noise)', '"noise" to noise, "realism" to realism)'),
    ),
    "Swift": (
        (
            "shape: [0])",
            "shape: [0])\n    var one: Float = 1\n    let realism = try ORTValue(\n        tensorData: "
            "NSMutableData(bytes: &one, length: 4), elementType: .float, shape: [1])",
        ),
        ('"noise": noise]', '"noise": noise, "realism": realism]'),
    ),
}
"""Changes of the examples for a model with a slider."""
NOT_RUN = ("C#", "Kotlin", "Swift")
"""Languages whose example nobody has run: no tool for them was at hand."""


def example(language: str, slider: bool) -> str:
    """The code for a language; with a `slider` it gives a realism of 1."""
    _, code = EXAMPLES[language]
    for old, new in WITH_REALISM[language] if slider else ():
        if old not in code:
            raise ValueError(f"the example in {language} lacks {old!r}")
        code = code.replace(old, new)
    return code.strip()


def lines(files: list[str], slider: bool = False) -> list[str]:
    """The section of the card; `files`: names of the files, such as photo.onnx, photo_int8.onnx and photo.ort."""
    named, small = (
        ", ".join(f"`onnx/{file}`" for file in files if file.endswith(suffix)) for suffix in (".onnx", ".ort")
    )
    section = [
        "## From photo to photo in any language",
        f"The whole translation in one graph: {named}. Inputs: `photo`, uint8 (height, width, 3), RGB, upright, of any "
        f"size; `noise`, float32 (n), of length 0 for the picture of seed 0{REALISM if slider else ''}. Output: "
        "`picture`, uint8, of the photo's size. The picture is that of `python -m export.edge` without options, within "
        "2 of 255 levels.",
        "",
        "For another picture of the same photo, give standard normal numbers as `noise`, at least as many as the state "
        "has that the sampler starts from. A photo of no pixels, of other channels or of floats is an error of "
        "onnxruntime.",
    ]
    if small:
        section += [
            "",
            f"The same in ORT format, for a small build of onnxruntime: {small}. `onnx/{OPERATORS}` lists the "
            "operators that the build needs.",
        ]
    for language, (mark, _) in EXAMPLES.items():
        note = " (not run by us)" if language in NOT_RUN else ""
        section += ["", f"{language}{note}:", f"```{mark}", *example(language, slider).splitlines(), "```"]
    return section
