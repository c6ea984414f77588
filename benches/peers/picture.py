"""A bar chart of CPU time per request, for a README."""

from contestants import CONTESTANTS
from report import Results

WIDTH, LEFT, RIGHT, TOP = 720, 120, 140, 44
BAR, STEP = 20, 32
# Legible on white and on black alike.
TEXT, USER, KERNEL = "#7d8590", "#2f81f7", "#9a6ddb"


def draw(results: Results) -> str:
    def median(name: str, figure: str) -> float:
        return results.median("small", name, figure) or 0

    without_policy = {one.name for one in CONTESTANTS if not one.has_policy}
    names = sorted(results.contestants("small"), key=lambda name: median(name, "cpu"))
    scale = (WIDTH - LEFT - RIGHT) / max(median(name, "cpu") for name in names)
    height = TOP + STEP * len(names) + 4
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'font-family="system-ui, sans-serif" font-size="14" fill="{TEXT}" role="img">',
        "<title>CPU time per request, in microseconds</title>",
        f'<text x="{LEFT}" y="20">CPU µs per request:</text>',
        f'<rect x="{LEFT + 148}" y="9" width="12" height="12" rx="2" fill="{USER}"/>',
        f'<text x="{LEFT + 166}" y="20">user</text>',
        f'<rect x="{LEFT + 212}" y="9" width="12" height="12" rx="2" fill="{KERNEL}"/>',
        f'<text x="{LEFT + 230}" y="20">kernel</text>',
    ]
    for place, name in enumerate(names):
        top = TOP + STEP * place
        user, kernel = median(name, "user") * scale, median(name, "kernel") * scale
        value = f"{median(name, 'cpu'):.1f}{', no policy' if name in without_policy else ''}"
        weight = ' font-weight="bold"' if name.startswith("keygate") else ""
        parts += [
            f'<text x="{LEFT - 10}" y="{top + 15}" text-anchor="end"{weight}>{name}</text>',
            f'<rect x="{LEFT}" y="{top}" width="{user:.1f}" height="{BAR}" fill="{USER}"/>',
            f'<rect x="{LEFT + user:.1f}" y="{top}" width="{kernel:.1f}" height="{BAR}" fill="{KERNEL}"/>',
            f'<text x="{LEFT + user + kernel + 8:.1f}" y="{top + 15}"{weight}>{value}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])
