// Everything the page says, in each of its languages; {name} stands for a value.

export const LANGUAGES = { en: "English", zh: "中文" };

const EN = {
  skip: "Skip to the content", language: "Language", nav: "Views",
  "nav.search": "Search", "nav.check": "Check a listing", "nav.studio": "Studio",
  close: "Close", again: "Try again", more: "Show more", curtain: "Drop the photo anywhere", looking: "Looking",
  "foot.index": "index {version}", "foot.model": "model {version}", answered: "answered in {ms} ms",

  "key.title": "This catalog asks for a key", "key.kept": "It is kept until this tab is closed.", "key.label": "API key",
  "key.wrong": "That key is not known here.", "key.go": "Continue",

  "problem.bad-image": "That file cannot be read as a photo", "problem.unsupported-format": "That kind of file is not supported",
  "problem.image-too-large": "That photo is too large", "problem.body-too-large": "That is too much at once",
  "problem.no-index": "The catalog is not indexed yet", "problem.overloaded": "The service is busy just now",
  "problem.offline": "No answer", "problem.offline-detail": "The service does not answer. Is it running?",
  "problem.not-found": "This service has no such call", "problem.status": "The service answered {status}.",

  "start.title": "Find it by its looks", "start.lead": "Show a product photo: see what it is, what looks like it, and how to tag it.",
  "start.back": "Back to the start", "drop.choose": "Choose a photo", "drop.several": "Choose photos of one product", "drop.or": "or drop it here, or paste it", "drop.or-several": "or drop them here, or paste them",
  "drop.formats": "JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF", "drop.camera": "Take a photo",
  "words.label": "Search by words", "words.example": "Words, such as: red striped shirt", "words.go": "Search",
  "words.unknown": "Not known to this catalog: {words}", "words.without": "Search without the words", "words.other": "Other words",
  "photo.new": "New photo", "photo.other": "Choose another photo", "begin-again": "Begin again",
  "crop.start": "Choose a part", "crop.stop": "Whole photo", "crop.box": "The part to look at; arrow keys move it, with Shift they change its size",
  "crop.keys": "Drag to move, corners to resize; arrow keys move, Shift and arrow keys resize", "crop.said": "Part: {w} by {h} pixels at {x}, {y}",
  "objects.find": "Find objects", "objects.boxes": "Objects in this photo", "objects.thing": "object", "objects.one": "Object {number}: {name}", "objects.found": "{count} objects found",
  "objects.nothing-stands-out": "Nothing stands out from the background.", "objects.nothing-alike": "Nothing in this photo looks like a product of this catalog.", "objects.no-products": "The catalog has no products yet.",
  "query.looks-like": "Looks like", "query.your-photo": "Your photo", "query.your-photo-alt": "The photo you chose",
  "query.catalog": "From the catalog", "query.photo-of": "Photo of {name}",
  category: "Category", "category.none": "This model was not trained on categories.", "category.unknown": "Unlike anything the model was taught.",
  tags: "Suggested tags", "tags.none": "The products nearby carry no tags in common.",
  "support.one": "“{tag}” because {count} similar product has it", "support.many": "“{tag}” because {count} similar products have it",
  "grid.start": "Or start from a product", "grid.similar": "Similar products", "grid.words": "Products for “{words}”",
  "grid.no-products": "The catalog has no products yet.", "grid.nothing-else": "Nothing else is in the catalog yet.", "grid.none-pass": "No product passes these filters.",
  "products.count": "{count} products", found: "{count} products shown", "more-like-this": "More like this",
  "price.range": "{from} to {to}", "variants.one": "{count} more variant", "variants.many": "{count} more variants",
  "stock.in_stock": "In stock", "stock.out_of_stock": "Out of stock", "stock.preorder": "To be pre-ordered", "stock.backorder": "On back-order",
  "shop.open": "In the shop", "shop.open-of": "“{name}” in the shop (new tab)",
  "score.title": "Similarity, 1 is the same photo", "score.said": "similarity", side: "Narrow down",
  filters: "Filters", "filters.clear": "Clear filters", "filters.none": "There is nothing to filter by.", "filters.more": "All {count} values of {field}", "filters.fewer": "Fewer", "filters.from": "from", "filters.to": "to",
  "field.category": "Category", "field.tags": "Tags", "field.availability": "Availability", "field.brand": "Brand",
  "field.price": "Price", "field.sale_price": "Sale price", "field.currency": "Currency", "field.stock": "Stock",
  weights: "What counts", "weights.reset": "As usual", "weights.words": "Words",
  "block.a": "Kind and style", "block.c": "Colour", "block.g": "General look",
  why: "Why?", "why.of": "Why is “{name}” similar?", "why.wait": "Looking at both photos", "why.none": "There is no explanation.",
  "why.yours": "What you asked about", "why.part": "By", "why.all": "All together", "why.drawn": "Heat map over {name}",
  "why.help": "The brighter a place, the more it speaks for the similarity.",

  "check.tabs": "Listings", "check.new": "New listing", "check.queue": "Review queue", "check.title": "Check a listing",
  "check.lead": "Photos of a new product: are they fit to publish, and what would make them better?",
  "check.chosen": "Photos of the listing", "check.profile": "Standard", "profile.usual": "The shop's usual", "profile.studio": "Studio", "profile.marketplace": "Marketplace",
  "check.run": "Check this listing", "check.clear": "Start over", "check.remove": "Remove {name}", "check.most": "A listing has at most {count} photos.",
  "check.wait": "Looking at the photos", "check.photos": "Photos", "check.photo": "Photo {number}", "check.waits": "A person is asked to look at it.", "check.to-queue": "To the review queue",
  "check.different": "These photos seem to show different products: {groups}",
  "check.prohibited": "Prohibited content", "check.allowed": "Nothing prohibited was found.", "check.no-policies": "This shop has set no policies.",
  "check.quality": "Photo quality: {score}", "check.fine": "Nothing to improve.", "check.fine-too": "What is fine ({count})", "check.percentile": "better than {share} of this shop's photos",
  "check.duplicates": "Repeats", "check.no-duplicates": "No product of the catalog shows this photo.", "check.duplicates-wait": "None found yet: the catalog's photos are still being read. Check again in a moment.", "check.erased": "a product that is gone",
  "verdict.publish": "Fit to publish", "verdict.publish.means": "Nothing stands in the way.",
  "verdict.improve": "Can be better", "verdict.improve.means": "It may be published; the advice below would help it.",
  "verdict.review": "A person should look", "verdict.review.means": "It waits in the review queue.",
  "verdict.block": "Not to be published", "verdict.block.means": "A policy of this shop forbids it. A person can overrule that in the queue.",
  "reason.quality": "Photo: {about}", "reason.prohibited": "Policy: {about}", "reason.duplicate": "Repeats: {about}",
  "reason.photos:different-products": "The photos show different products", "reason.category:unknown": "No known kind of product",
  "code.no-product": "no product", "code.low-resolution": "low resolution", "code.blurred": "blurred", "code.underexposed": "too dark", "code.overexposed": "too bright",
  "code.low-contrast": "low contrast", "code.noisy": "grainy", "code.jpeg-blocking": "compressed too much", "code.colour-cast": "colour cast", "code.busy-background": "busy background",
  "code.product-cut": "product cut off", "code.product-too-small": "product too small", "code.off-centre": "off centre", "code.border": "frame", "code.text-overlay": "text on the photo", "code.collage": "collage", "code.incomplete-file": "incomplete file",
  "code.same_photo": "the same photo", "code.near_same_photo": "nearly the same photo", "code.same_product": "the same product",
  "kind.same_photo": "The same photo", "kind.near_same_photo": "Nearly the same photo", "kind.same_product": "The same product, another photo",
  "level.ok": "fine", "level.note": "a remark", "level.warning": "should be better", "level.fail": "not good enough",
  "decision.allow": "allowed", "decision.review": "a person should look", "decision.block": "forbidden",
  "tag.accept": "Accept {tag}", "tag.reject": "Reject {tag}", "tag.accepted": "accepted", "tag.rejected": "rejected",

  "queue.title": "Review queue", "queue.lead": "Listings that ask for a person, the oldest first. Each decision is made once and logged.",
  "queue.state": "Which reviews", "queue.open": "Open", "queue.approved": "Approved", "queue.rejected": "Rejected",
  "queue.none-open": "Nothing waits for a decision.", "queue.none-approved": "Nothing was approved yet.", "queue.none-rejected": "Nothing was rejected yet.",
  "queue.reason": "Reason", "queue.approve": "Approve", "queue.reject": "Reject", "queue.reload": "Show the queue again",
  "queue.photo": "Photo {number} of the listing", "queue.no-preview": "This photo is no longer kept.",
  "queue.tag-precision": "Suggested tags accepted", "queue.policy-precision": "Alarms confirmed: {policy}", "queue.judged": "of {count} judged",

  "studio.title": "Studio", "studio.lead": "Index versions, imports, the catalog at a glance, and how the service is doing.",
  "studio.versions": "Index versions", "studio.no-versions": "No version was built yet: catalens index build --activate",
  "studio.active": "serving", "studio.activate": "Activate", "studio.activate-one": "Activate {version}", "studio.rollback": "Roll back",
  "studio.rollback-to": "Roll back to {version}", "studio.model": "model {model}", "studio.recall": "recall {share}",
  "studio.switching": "Switching to {version}", "studio.switched": "{version} serves now",
  "jobs.title": "Imports and other long work", "jobs.file": "A ZIP file with photos and a manifest", "jobs.path": "or a path on the server", "jobs.go": "Import", "jobs.rebuild": "Build a new index version",
  "jobs.nothing": "Choose a ZIP file, or name a path on the server.", "jobs.sending": "Sending", "jobs.none": "No work was started yet.",
  "jobs.missing": "This service takes no imports over the network; use “catalens import” on its machine.",
  "jobs.progress": "Progress of {kind}", "jobs.cancel": "Cancel", "jobs.queued": "waits", "jobs.running": "running", "jobs.done": "done", "jobs.failed": "failed", "jobs.cancelled": "cancelled",
  "map.title": "Map of the catalog", "map.help": "Alike products lie near each other. Drag to move, + and − to zoom, arrow keys to go from product to product, Enter to open one.",
  "map.in": "Zoom in", "map.out": "Zoom out", "map.whole": "Whole map", "map.open": "Show similar products", "map.others": "others", "map.no-category": "no category",
  "map.note": "{shown} of {total} products; the two directions shown hold {share} of their differences.",
  "numbers.title": "How the service is doing", "numbers.requests": "Requests", "numbers.errors": "Failed", "numbers.waiting": "Waiting for the network",
  "numbers.products": "Products", "numbers.delta": "Photos not yet in a version", "numbers.tag-precision": "Tags accepted", "numbers.reviews": "Reviews open", "numbers.memory": "Memory",
  "numbers.route": "Call", "numbers.count": "Count", "numbers.p50": "Median", "numbers.p95": "95%", "numbers.failed": "Failed",
  "numbers.curve": "Requests a second since this view was opened; the top is {most}",
};

const ZH = {
  skip: "跳到内容", language: "语言", nav: "视图",
  "nav.search": "搜索", "nav.check": "检查商品", "nav.studio": "工作室",
  close: "关闭", again: "重试", more: "显示更多", curtain: "把照片放在任意位置", looking: "正在查找",
  "foot.index": "索引 {version}", "foot.model": "模型 {version}", answered: "用时 {ms} 毫秒",

  "key.title": "此目录需要密钥", "key.kept": "密钥只保留到关闭此标签页为止。", "key.label": "API 密钥",
  "key.wrong": "此密钥无效。", "key.go": "继续",

  "problem.bad-image": "无法把此文件读取为照片", "problem.unsupported-format": "不支持此类文件",
  "problem.image-too-large": "照片太大", "problem.body-too-large": "一次发送的内容太多",
  "problem.no-index": "目录尚未建立索引", "problem.overloaded": "服务正忙",
  "problem.offline": "没有应答", "problem.offline-detail": "服务没有应答。它在运行吗？",
  "problem.not-found": "此服务没有这个调用", "problem.status": "服务返回了 {status}。",

  "start.title": "以图找货", "start.lead": "给出一张商品照片：它是什么、什么与它相似、该打什么标签。",
  "start.back": "回到开始", "drop.choose": "选择照片", "drop.several": "选择同一商品的照片", "drop.or": "或拖放到这里，或粘贴", "drop.or-several": "或拖放到这里，或粘贴",
  "drop.formats": "JPEG、PNG、WebP、GIF、BMP、TIFF 或 AVIF", "drop.camera": "拍照",
  "words.label": "用文字搜索", "words.example": "文字，例如：红色 条纹 衬衫", "words.go": "搜索",
  "words.unknown": "此目录不认识：{words}", "words.without": "不用文字再搜索", "words.other": "换一些词",
  "photo.new": "新照片", "photo.other": "换一张照片", "begin-again": "重新开始",
  "crop.start": "选取局部", "crop.stop": "整张照片", "crop.box": "要看的局部；方向键移动，按住 Shift 改变大小",
  "crop.keys": "拖动可移动，拖四角可缩放；方向键移动，Shift 加方向键缩放", "crop.said": "局部：{w} × {h} 像素，位于 {x}, {y}",
  "objects.find": "查找物品", "objects.boxes": "照片中的物品", "objects.thing": "物品", "objects.one": "物品 {number}：{name}", "objects.found": "找到 {count} 个物品",
  "objects.nothing-stands-out": "没有从背景中突出的物品。", "objects.nothing-alike": "照片中没有与此目录商品相似的物品。", "objects.no-products": "目录里还没有商品。",
  "query.looks-like": "看起来是", "query.your-photo": "你的照片", "query.your-photo-alt": "你选择的照片",
  "query.catalog": "来自目录", "query.photo-of": "{name} 的照片",
  category: "类别", "category.none": "此模型没有训练过类别。", "category.unknown": "不像模型学过的任何类别。",
  tags: "建议的标签", "tags.none": "相近的商品没有共同的标签。",
  "support.one": "“{tag}”：有 {count} 个相似商品带有它", "support.many": "“{tag}”：有 {count} 个相似商品带有它",
  "grid.start": "或从一个商品开始", "grid.similar": "相似商品", "grid.words": "“{words}”的商品",
  "grid.no-products": "目录里还没有商品。", "grid.nothing-else": "目录里还没有别的商品。", "grid.none-pass": "没有商品符合这些筛选条件。",
  "products.count": "{count} 个商品", found: "显示了 {count} 个商品", "more-like-this": "更多相似",
  "price.range": "{from} 至 {to}", "variants.one": "另有 {count} 款", "variants.many": "另有 {count} 款",
  "stock.in_stock": "有货", "stock.out_of_stock": "缺货", "stock.preorder": "可预订", "stock.backorder": "补货中，可下单",
  "shop.open": "去店铺", "shop.open-of": "在店铺中查看“{name}”（新标签页）",
  "score.title": "相似度，1 表示同一张照片", "score.said": "相似度", side: "缩小范围",
  filters: "筛选", "filters.clear": "清除筛选", "filters.none": "没有可筛选的内容。", "filters.more": "{field}的全部 {count} 个值", "filters.fewer": "收起", "filters.from": "从", "filters.to": "到",
  "field.category": "类别", "field.tags": "标签", "field.availability": "库存状态", "field.brand": "品牌",
  "field.price": "价格", "field.sale_price": "促销价", "field.currency": "货币", "field.stock": "库存",
  weights: "看重什么", "weights.reset": "恢复默认", "weights.words": "文字",
  "block.a": "种类与款式", "block.c": "颜色", "block.g": "整体外观",
  why: "为什么？", "why.of": "“{name}”为什么相似？", "why.wait": "正在比较两张照片", "why.none": "没有解释。",
  "why.yours": "你查询的", "why.part": "依据", "why.all": "综合", "why.drawn": "{name} 上的热力图",
  "why.help": "越亮的地方，越说明两者相似。",

  "check.tabs": "商品", "check.new": "新商品", "check.queue": "审核队列", "check.title": "检查商品",
  "check.lead": "新商品的照片：适合发布吗？怎样会更好？",
  "check.chosen": "此商品的照片", "check.profile": "标准", "profile.usual": "店铺默认", "profile.studio": "影棚", "profile.marketplace": "集市",
  "check.run": "检查此商品", "check.clear": "重新开始", "check.remove": "移除 {name}", "check.most": "一个商品最多 {count} 张照片。",
  "check.wait": "正在查看照片", "check.photos": "照片", "check.photo": "照片 {number}", "check.waits": "已请人工查看。", "check.to-queue": "前往审核队列",
  "check.different": "这些照片似乎是不同的商品：{groups}",
  "check.prohibited": "违禁内容", "check.allowed": "没有发现违禁内容。", "check.no-policies": "此店铺没有设置规则。",
  "check.quality": "照片质量：{score}", "check.fine": "没有需要改进的地方。", "check.fine-too": "没有问题的项目（{count}）", "check.percentile": "好于本店 {share} 的照片",
  "check.duplicates": "重复", "check.no-duplicates": "目录里没有商品使用此照片。", "check.duplicates-wait": "暂未发现：目录照片仍在读取中，请稍后再检查。", "check.erased": "已删除的商品",
  "verdict.publish": "适合发布", "verdict.publish.means": "没有问题。",
  "verdict.improve": "可以更好", "verdict.improve.means": "可以发布；下面的建议会有帮助。",
  "verdict.review": "需要人工查看", "verdict.review.means": "它在审核队列中等待。",
  "verdict.block": "不可发布", "verdict.block.means": "店铺规则禁止。人工可以在队列中推翻。",
  "reason.quality": "照片：{about}", "reason.prohibited": "规则：{about}", "reason.duplicate": "重复：{about}",
  "reason.photos:different-products": "照片是不同的商品", "reason.category:unknown": "未知的商品种类",
  "code.no-product": "没有商品", "code.low-resolution": "分辨率低", "code.blurred": "模糊", "code.underexposed": "过暗", "code.overexposed": "过亮",
  "code.low-contrast": "对比度低", "code.noisy": "噪点多", "code.jpeg-blocking": "压缩过度", "code.colour-cast": "偏色", "code.busy-background": "背景杂乱",
  "code.product-cut": "商品被切断", "code.product-too-small": "商品太小", "code.off-centre": "偏离中心", "code.border": "边框", "code.text-overlay": "照片上有文字", "code.collage": "拼图", "code.incomplete-file": "文件不完整",
  "code.same_photo": "同一张照片", "code.near_same_photo": "几乎同一张照片", "code.same_product": "同一商品",
  "kind.same_photo": "同一张照片", "kind.near_same_photo": "几乎同一张照片", "kind.same_product": "同一商品的另一张照片",
  "level.ok": "良好", "level.note": "提示", "level.warning": "应改进", "level.fail": "不合格",
  "decision.allow": "允许", "decision.review": "需要人工查看", "decision.block": "禁止",
  "tag.accept": "接受 {tag}", "tag.reject": "拒绝 {tag}", "tag.accepted": "已接受", "tag.rejected": "已拒绝",

  "queue.title": "审核队列", "queue.lead": "需要人工处理的商品，最早的在前。每个决定只做一次，并记入日志。",
  "queue.state": "哪些审核", "queue.open": "待处理", "queue.approved": "已通过", "queue.rejected": "已拒绝",
  "queue.none-open": "没有等待处理的商品。", "queue.none-approved": "还没有通过的商品。", "queue.none-rejected": "还没有拒绝的商品。",
  "queue.reason": "理由", "queue.approve": "通过", "queue.reject": "拒绝", "queue.reload": "重新显示队列",
  "queue.photo": "商品的照片 {number}", "queue.no-preview": "此照片不再保留。",
  "queue.tag-precision": "被接受的建议标签", "queue.policy-precision": "被确认的警报：{policy}", "queue.judged": "共评判 {count} 个",

  "studio.title": "工作室", "studio.lead": "索引版本、导入、目录一览，以及服务的状况。",
  "studio.versions": "索引版本", "studio.no-versions": "还没有建立版本：catalens index build --activate",
  "studio.active": "使用中", "studio.activate": "启用", "studio.activate-one": "启用 {version}", "studio.rollback": "回退",
  "studio.rollback-to": "回退到 {version}", "studio.model": "模型 {model}", "studio.recall": "召回率 {share}",
  "studio.switching": "正在切换到 {version}", "studio.switched": "现在使用 {version}",
  "jobs.title": "导入与其他长时间任务", "jobs.file": "含照片和清单的 ZIP 文件", "jobs.path": "或服务器上的路径", "jobs.go": "导入", "jobs.rebuild": "建立新的索引版本",
  "jobs.nothing": "请选择 ZIP 文件，或填写服务器上的路径。", "jobs.sending": "正在发送", "jobs.none": "还没有任务。",
  "jobs.missing": "此服务不接受网络导入；请在服务器上使用 “catalens import”。",
  "jobs.progress": "{kind} 的进度", "jobs.cancel": "取消", "jobs.queued": "等待中", "jobs.running": "进行中", "jobs.done": "完成", "jobs.failed": "失败", "jobs.cancelled": "已取消",
  "map.title": "目录地图", "map.help": "相似的商品彼此靠近。拖动可移动，+ 和 − 缩放，方向键在商品间移动，回车打开。",
  "map.in": "放大", "map.out": "缩小", "map.whole": "整张地图", "map.open": "显示相似商品", "map.others": "其他", "map.no-category": "无类别",
  "map.note": "{total} 个商品中的 {shown} 个；所示两个方向包含其差异的 {share}。",
  "numbers.title": "服务状况", "numbers.requests": "请求", "numbers.errors": "失败", "numbers.waiting": "等待网络计算",
  "numbers.products": "商品", "numbers.delta": "尚未并入版本的照片", "numbers.tag-precision": "被接受的标签", "numbers.reviews": "待处理审核", "numbers.memory": "内存",
  "numbers.route": "调用", "numbers.count": "次数", "numbers.p50": "中位数", "numbers.p95": "95%", "numbers.failed": "失败",
  "numbers.curve": "打开此视图以来每秒的请求数；最高为 {most}",
};

export const TEXTS = { en: EN, zh: ZH };

let chosen = localStorage.getItem("language") || (navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en");
if (!(chosen in LANGUAGES)) chosen = "en";

/** The language the page speaks now. */
export const lang = () => chosen;

export function setLang(code) {
  chosen = code;
  localStorage.setItem("language", code);
}

/** A text by its key; a key that no language has comes back as it is. */
export function t(key, values = {}) {
  const text = TEXTS[chosen][key] ?? EN[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/** A code as words: `low-resolution` as "low resolution". */
export const words = (code) => String(code).replace(/[-_]+/g, " ");
