// The colours of spectrograms: night blue over violet, red and amber to cream. Lightness (of OKLab) rises evenly, so
// that equal steps of level look equal, in grey as well; hue and colourfulness only help the eye.

const HUES = [285, 300, 345, 385, 420, 450]; // degrees, beyond 360 so that they rise
const CHROMAS = [0.05, 0.13, 0.18, 0.17, 0.13, 0.05];

function between(stops, position) {
  const at = position * (stops.length - 1);
  const k = Math.min(Math.floor(at), stops.length - 2);
  return stops[k] + (at - k) * (stops[k + 1] - stops[k]);
}

/** OKLCH to sRGB, 0 to 255. The matrices are those of OKLab's definition (Ottosson, 2020). */
function rgb(lightness, chroma, hue) {
  const a = chroma * Math.cos((hue * Math.PI) / 180);
  const b = chroma * Math.sin((hue * Math.PI) / 180);
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ].map((value) => {
    const gamma = value <= 0.0031308 ? 12.92 * value : 1.055 * value ** (1 / 2.4) - 0.055;
    return Math.round(Math.min(Math.max(gamma, 0), 1) * 255);
  });
}

/** (256,) colours as canvas pixels: 0xAABBGGRR. */
export const PALETTE = Uint32Array.from({ length: 256 }, (_, k) => {
  const t = k / 255;
  const [r, g, b] = rgb(0.16 + 0.8 * t, between(CHROMAS, t), between(HUES, t));
  return (255 << 24) | (b << 16) | (g << 8) | r;
});

/** The colour at `position`, 0 to 1, for CSS. */
export function cssColour(position) {
  const pixel = PALETTE[Math.round(Math.min(Math.max(position, 0), 1) * 255)];
  return `rgb(${pixel & 255} ${(pixel >> 8) & 255} ${(pixel >> 16) & 255})`;
}

/** Colours to tell recordings apart, light enough for a dark ground. */
const DISTINCT = ['#56b4e9', '#e69f00', '#2bbf8e', '#e58fc0', '#f0e442', '#ff7f50', '#9d8cff', '#b5c4cc'];
export const distinctColour = (index) => DISTINCT[index % DISTINCT.length];
