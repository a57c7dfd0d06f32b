// The texts inside the SVG of this page whose contrast to what is painted behind them is below WCAG's, which axe leaves
// out. Colours are painted on a canvas to be read, as CSS has many ways to write one.
() => {
  const brush = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    brush.clearRect(0, 0, 1, 1);
    brush.fillStyle = colour;
    brush.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = brush.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => top.slice(0, 3).map((value, i) => value * top[3] + below[i] * (1 - top[3]));
  const luminance = (colour) => {
    const [r, g, b] = colour.map((value) => value / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (a, b) => {
    const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (high + 0.05) / (low + 0.05);
  };
  const seen = (element) => {
    let opacity = 1;
    for (let each = element; each; each = each.parentElement) opacity *= getComputedStyle(each).opacity;
    return opacity;
  };
  const fade = (colour, by) => [...colour.slice(0, 3), colour[3] * by];
  const isShape = (element) => element instanceof SVGGeometryElement;
  const paint = (element) => {
    const style = getComputedStyle(element);
    if (isShape(element)) return style.fill === "none" ? null : fade(rgba(style.fill), style.fillOpacity * seen(element));
    if (element instanceof SVGElement && !(element instanceof SVGSVGElement)) return null;
    return fade(rgba(style.backgroundColor), seen(element));
  };
  const canvas = () => {
    const probe = document.body.appendChild(document.createElement("div"));
    probe.style.background = "Canvas";
    const colour = rgba(getComputedStyle(probe).backgroundColor);
    probe.remove();
    return colour.slice(0, 3);
  };
  const behind = (element) => {
    const box = element.getBoundingClientRect();
    const stack = document.elementsFromPoint(box.x + box.width / 2, box.y + box.height / 2);
    const painted = stack.filter((each) => each !== element && !each.contains(element) && !element.contains(each));
    const around = [];
    for (let each = element.parentElement; each; each = each.parentElement) around.push(each);
    const layers = [...painted.filter(isShape), ...around].map(paint).filter((colour) => colour && colour[3] > 0);
    return layers.reverse().reduce((below, top) => over(top, below), canvas());
  };
  // What the pointer does not meet, elementsFromPoint would not name.
  const sheet = document.head.appendChild(document.createElement("style"));
  sheet.textContent = "svg, svg * { pointer-events: visible !important; }";
  const faint = [];
  for (const text of document.querySelectorAll("svg text, svg tspan")) {
    const words = [...text.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE).map((node) => node.data).join("").trim();
    const style = getComputedStyle(text);
    if (!words || style.visibility === "hidden" || !text.getClientRects().length) continue;
    text.scrollIntoView({ block: "center", inline: "center", behavior: "instant" });
    const background = behind(text);
    const fill = style.fill === "none" ? [0, 0, 0, 0] : fade(rgba(style.fill), style.fillOpacity * seen(text));
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
