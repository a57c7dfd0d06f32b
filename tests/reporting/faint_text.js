// Return the texts in SVG elements whose contrast to their background is below that of WCAG; axe does not check them.
// Colors are painted on a canvas to parse any CSS notation.
() => {
  const brush = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    brush.clearRect(0, 0, 1, 1);
    brush.fillStyle = color;
    brush.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = brush.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => top.slice(0, 3).map((value, i) => value * top[3] + below[i] * (1 - top[3]));
  const luminance = (color) => {
    const [r, g, b] = color.map((value) => value / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (a, b) => {
    const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (high + 0.05) / (low + 0.05);
  };
  const opacityOf = (element) => {
    let opacity = 1;
    for (let each = element; each; each = each.parentElement) opacity *= getComputedStyle(each).opacity;
    return opacity;
  };
  const fade = (color, by) => [...color.slice(0, 3), color[3] * by];
  const isShape = (element) => element instanceof SVGGeometryElement;
  const paint = (element) => {
    const style = getComputedStyle(element);
    if (isShape(element)) return style.fill === "none" ? null : fade(rgba(style.fill), style.fillOpacity * opacityOf(element));
    if (element instanceof SVGElement && !(element instanceof SVGSVGElement)) return null;
    return fade(rgba(style.backgroundColor), opacityOf(element));
  };
  const canvas = () => {
    const probe = document.body.appendChild(document.createElement("div"));
    probe.style.background = "Canvas";
    const color = rgba(getComputedStyle(probe).backgroundColor);
    probe.remove();
    return color.slice(0, 3);
  };
  const behind = (element) => {
    const box = element.getBoundingClientRect();
    const stack = document.elementsFromPoint(box.x + box.width / 2, box.y + box.height / 2);
    const painted = stack.filter((each) => each !== element && !each.contains(element) && !element.contains(each));
    const around = [];
    for (let each = element.parentElement; each; each = each.parentElement) around.push(each);
    const layers = [...painted.filter(isShape), ...around].map(paint).filter((color) => color && color[3] > 0);
    return layers.reverse().reduce((below, top) => over(top, below), canvas());
  };
  // elementsFromPoint omits elements without pointer events.
  const sheet = document.head.appendChild(document.createElement("style"));
  sheet.textContent = "svg, svg * { pointer-events: visible !important; }";
  const faint = [];
  for (const text of document.querySelectorAll("svg text, svg tspan")) {
    const words = [...text.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE).map((node) => node.data).join("").trim();
    const style = getComputedStyle(text);
    if (!words || style.visibility === "hidden" || !text.getClientRects().length) continue;
    text.scrollIntoView({ block: "center", inline: "center", behavior: "instant" });
    const background = behind(text);
    const fill = style.fill === "none" ? [0, 0, 0, 0] : fade(rgba(style.fill), style.fillOpacity * opacityOf(text));
    const ratio = contrast(over(fill, background), background);
    const box = text.getBoundingClientRect();
    const scale = text.getScreenCTM() ? Math.abs(text.getScreenCTM().d) || 1 : 1;
    const size = parseFloat(style.fontSize) * scale;
    const isLarge = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if (ratio < (isLarge ? 3 : 4.5)) faint.push(`${words}: ${ratio.toFixed(2)}`);
  }
  sheet.remove();
  return faint;
}
