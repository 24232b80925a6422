"""A short Chinese sentence for the column that MAFW's lists keep for one: mouth, brows and gaze at the apex."""

MOUTH = {
    "laughing": "张嘴大笑", "smiling broadly": "嘴角高高扬起", "smiling": "嘴角上扬", "yawning": "嘴张得很大",
    "wide open": "嘴张得很大", "slightly open": "嘴唇微张", "pressed": "嘴唇紧闭", "corners down": "嘴角向下",
    "pressed, corners down": "嘴唇紧闭，嘴角向下", "open, corners down": "嘴唇微张，嘴角向下",
    "slightly up": "嘴角微微上扬", "slightly down": "嘴角微微向下",
}  # fmt: skip
BROWS = {
    "furrowed": "眉头皱起", "uneven": "一边眉毛抬起", "raised": "眉毛抬起", "lowered": "眉毛压低",
    "raised and drawn together": "眉毛抬起并皱在一起", "lowered and drawn together": "眉毛压低并皱在一起",
    "slightly furrowed": "眉头微皱", "slightly raised": "眉毛微抬", "slightly lowered": "眉毛略低",
}  # fmt: skip
GAZE = {
    "down": "眼睛看着下方", "up": "眼睛看着上方", "left": "眼睛看着左边", "right": "眼睛看着右边",
    "darting": "眼睛左右转动", "ahead": "眼睛看着前方",
}  # fmt: skip


def describe_in_chinese(apex: dict[str, str]) -> str:
    """One sentence; what is at rest is left out."""
    mouth = "一只手捂着嘴" if apex["hands"] == "covering the mouth" else MOUTH.get(apex["mouth"])
    parts = (BROWS.get(apex["brows"]), GAZE.get(apex["gaze"], "眼睛闭着"), mouth)
    return f"画面中的人{'，'.join(part for part in parts if part)}。"
