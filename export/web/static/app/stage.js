// The frame with the photo, the picture that forms over it, and the slider between the two.

const REVEAL = 900; // Milliseconds in which the slider glides to its place.
const REST = 42; // Where it comes to rest, per cent from the left.

export class Stage {
  constructor($) {
    this.$ = $;
    this.urls = { before: null, after: null };
    $('split').addEventListener('input', () => this.split(Number($('split').value)));
    $('split').addEventListener('pointerdown', () => cancelAnimationFrame(this.gliding));
    $('split').addEventListener('keydown', () => cancelAnimationFrame(this.gliding));
  }

  get resultUrl() {
    return this.urls.after;
  }

  async showPhoto({ blob, name }) {
    await this.show('before', blob);
    this.$('before').alt = `Your picture, ${name}`;
    this.showPhotoAlone();
  }

  showPhotoAlone() {
    for (const id of ['forming', 'after', 'compare']) this.$(id).hidden = true;
  }

  showForming(image) {
    const canvas = this.$('forming');
    [canvas.width, canvas.height] = [image.width, image.height];
    canvas.getContext('2d').putImageData(image, 0, 0);
    canvas.hidden = false;
  }

  /** `made`: what the picture is called. */
  async showResult(blob, made) {
    await this.show('after', blob);
    this.$('after').alt = `The ${made} made from your picture`;
    this.$('forming').hidden = true;
    this.$('compare').hidden = false;
    this.split(0);
  }

  /** From the whole result glide to where both can be seen. */
  reveal() {
    cancelAnimationFrame(this.gliding);
    if (matchMedia('(prefers-reduced-motion: reduce)').matches) return this.split(REST);
    const started = performance.now();
    const glide = (now) => {
      const share = Math.min(Math.max(now - started, 0) / REVEAL, 1);
      this.split(Math.round(REST * (1 - (1 - share) ** 3)));
      if (share < 1) this.gliding = requestAnimationFrame(glide);
    };
    this.gliding = requestAnimationFrame(glide);
  }

  split(value) {
    this.$('split').value = value;
    this.$('split').setAttribute('aria-valuetext', `${value} % before, ${100 - value} % after`);
    this.$('frame').style.setProperty('--split', `${value}%`);
  }

  /** Put a file into an <img>; resolves once it can be painted, so that nothing flickers. */
  async show(which, blob) {
    const picture = this.$(which);
    const old = this.urls[which];
    this.urls[which] = URL.createObjectURL(blob);
    picture.src = this.urls[which];
    await picture.decode().catch(() => {});
    picture.hidden = false;
    if (picture.naturalWidth) this.$('stage').style.setProperty('--ratio', picture.naturalWidth / picture.naturalHeight);
    if (old) URL.revokeObjectURL(old);
  }
}
