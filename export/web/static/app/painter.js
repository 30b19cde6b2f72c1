// Frames of a film on a canvas, their colours changed: by the graphics card, or without.

import { apply } from './detail.js';

const VERTICES = `#version 300 es
void main() {
  gl_Position = vec4(gl_VertexID == 1 ? 3 : -1, gl_VertexID == 2 ? 3 : -1, 0, 1);
}`;

// As detail.js's apply does it: four neighbours of a change of colour, each three texels of four numbers. Textures of
// 32-bit floats are not filtered everywhere, so the shader does it.
const COLOURS = `#version 300 es
precision highp float;
precision highp int;
uniform sampler2D photo;
uniform highp sampler2D change;
uniform ivec2 small;
uniform ivec2 large;
out vec4 colour;

vec3 changed(ivec2 at, vec3 rgb) {
  vec4 a = texelFetch(change, ivec2(3 * at.x, at.y), 0);
  vec4 b = texelFetch(change, ivec2(3 * at.x + 1, at.y), 0);
  vec4 c = texelFetch(change, ivec2(3 * at.x + 2, at.y), 0);
  return rgb.r * a.xyz + rgb.g * vec3(a.w, b.xy) + rgb.b * vec3(b.zw, c.x) + c.yzw;
}

void main() {
  ivec2 at = ivec2(int(gl_FragCoord.x), large.y - 1 - int(gl_FragCoord.y));
  vec2 place = clamp((vec2(at) + 0.5) * vec2(small) / vec2(large) - 0.5, vec2(0), vec2(small - 1));
  ivec2 first = ivec2(place);
  ivec2 second = min(first + 1, small - 1);
  vec2 share = place - vec2(first);
  vec3 rgb = texelFetch(photo, at, 0).rgb * 2.0 - 1.0;
  vec3 above = mix(changed(first, rgb), changed(ivec2(second.x, first.y), rgb), share.x);
  vec3 below = mix(changed(ivec2(first.x, second.y), rgb), changed(second, rgb), share.x);
  colour = vec4(mix(above, below, share.y) * 0.5 + 0.5, 1);
}`;

/**
 * A canvas, and what paints on it: {canvas, gpu, fits, paint}.
 *
 * `paint(frame, change)` takes a frame, with `gpu` a canvas and else {data, width, height} with RGBA bytes, and what
 * detail.js's changeOfColour gives; `fits(change)` says whether the graphics card can hold that. `software`: also use a
 * graphics card that is the processor in disguise, which is slower than doing without; null: use none.
 */
export function makePainter(software = false) {
  const painter = software === null ? null : onGpu(software);
  return painter ?? plain();
}

function plain() {
  const canvas = document.createElement('canvas');
  const context = canvas.getContext('2d');
  const paint = (frame, change) => {
    const { data, width, height } = apply(change, frame);
    resize(canvas, width, height);
    context.putImageData(new ImageData(data, width, height), 0, 0);
  };
  return { canvas, gpu: false, fits: () => true, paint };
}

function onGpu(software) {
  const canvas = document.createElement('canvas');
  const wish = { alpha: false, antialias: false, depth: false, failIfMajorPerformanceCaveat: !software };
  const gl = canvas.getContext('webgl2', wish);
  const program = gl && (software || !inDisguise(gl)) && compiled(gl);
  if (!program) return null;
  gl.useProgram(program);
  const place = (name) => gl.getUniformLocation(program, name);
  const [small, large] = [place('small'), place('large')];
  for (const [unit, name] of ['photo', 'change'].entries()) {
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    for (const side of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, side, gl.CLAMP_TO_EDGE);
    for (const side of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, side, gl.NEAREST);
    gl.uniform1i(place(name), unit);
  }
  gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
  const most = gl.getParameter(gl.MAX_TEXTURE_SIZE);
  const fits = ({ width, height }) => !gl.isContextLost() && 3 * width <= most && height <= most;
  const paint = (frame, { values, width, height }) => {
    resize(canvas, frame.width, frame.height);
    gl.viewport(0, 0, frame.width, frame.height);
    gl.activeTexture(gl.TEXTURE0);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, frame);
    gl.activeTexture(gl.TEXTURE1);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA32F, 3 * width, height, 0, gl.RGBA, gl.FLOAT, values);
    gl.uniform2i(small, width, height);
    gl.uniform2i(large, frame.width, frame.height);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  };
  return { canvas, gpu: true, fits, paint };
}

/** Whether the processor does what a graphics card should. */
function inDisguise(gl) {
  const more = gl.getExtension('WEBGL_debug_renderer_info');
  const names = [gl.RENDERER, ...(more ? [more.UNMASKED_RENDERER_WEBGL] : [])].map((name) => gl.getParameter(name));
  return /swiftshader|llvmpipe|softpipe|software|basic render/i.test(names.join());
}

function compiled(gl) {
  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, VERTICES], [gl.FRAGMENT_SHADER, COLOURS]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  return gl.getProgramParameter(program, gl.LINK_STATUS) ? program : null;
}

function resize(canvas, width, height) {
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
}
