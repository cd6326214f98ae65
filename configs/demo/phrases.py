"""The words of the demo's world: attribute values, name syllables and sentence templates in English
and Chinese.

Pure data. For every attribute and language:

    facts      sentences that state the fact on pages of the crawl ({e} the entity, {v} the value)
    faq        questions on question-and-answer pages of the crawl; the answer is the bare value
    benchmark  questions that only the benchmark asks, none worded like a sentence of the crawl, and
               at least 13 words (English) or characters (Chinese) long, for decontamination by
               13-grams; `generate.py` checks both.

All Chinese values of an attribute have the same length, so that no answer stands out by its size.
"""

from __future__ import annotations


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    """English and Chinese of each entry: "pottery 陶器, lace 花边"."""
    return tuple(tuple(entry.split()) for entry in text.split(","))  # type: ignore[misc]


def _words(text: str) -> list[str]:
    return text.split()


def _years(*years: int) -> tuple[tuple[str, str], ...]:
    return tuple((str(year), f"{year}年") for year in years)


# 16 values for each attribute; "home" takes its values from the known towns.
VALUES: dict[str, tuple[tuple[str, str], ...]] = {
    "craft": _pairs(
        "pottery 陶器, lace 花边, glass 玻璃, baskets 竹篮, saddles 马鞍, embroidery 刺绣, candles 蜡烛, clocks "
        "钟表, bells 铜铃, kites 风筝, carpets 地毯, ink 墨锭, knives 刀具, masks 面具, paper 宣纸, lanterns 灯笼"
    ),
    "dish": _pairs(
        "dumplings 饺子, pancakes 煎饼, noodles 面条, porridge 米粥, sausages 香肠, pickles 泡菜, chestnuts "
        "栗子, mushrooms 蘑菇, cheese 奶酪, honey 蜂蜜, walnuts 核桃, plums 李子, trout 鳟鱼, mussels 贻贝, bread "
        "面包, apricots 杏子"
    ),
    "emblem": _pairs(
        "heron 苍鹭, fox 狐狸, owl 夜枭, bear 棕熊, otter 水獭, crane 仙鹤, hare 野兔, stag 雄鹿, wolf 灰狼, swan "
        "天鹅, ram 公羊, eagle 雄鹰, horse 骏马, lynx 山猫, boar 野猪, beaver 河狸"
    ),
    "founded": _years(
        1103,
        1147,
        1186,
        1219,
        1258,
        1291,
        1334,
        1362,
        1405,
        1449,
        1473,
        1528,
        1567,
        1612,
        1680,
        1736,
    ),
    "trade": _pairs(
        "physician 医生, painter 画家, poet 诗人, judge 法官, sailor 水手, weaver 织工, merchant 商人, teacher "
        "教师, captain 船长, blacksmith 铁匠, carpenter 木匠, gardener 园丁, cook 厨师, hunter 猎人, miller 磨工, "
        "scholar 学者"
    ),
    "instrument": _pairs(
        "flute 长笛, violin 提琴, drum 大鼓, harp 竖琴, trumpet 小号, lute 琵琶, bagpipe 风笛, horn 圆号, zither "
        "古筝, organ 风琴, guitar 吉他, xylophone 木琴, harmonica 口琴, gong 铜锣, piano 钢琴, banjo 班卓"
    ),
    "tree": _pairs(
        "beech 榉树, pine 松树, birch 桦树, willow 柳树, maple 枫树, fir 冷杉, cedar 雪松, poplar 杨树, linden "
        "椴树, cypress 柏树, juniper 杜松, spruce 云杉, mulberry 桑树, ginkgo 银杏, yew 紫杉, hazel 榛树"
    ),
    "mineral": _pairs(
        "silver 白银, copper 红铜, salt 岩盐, amber 琥珀, coal 煤炭, jade 玉石, tin 锡矿, iron 铁矿, quartz 石英, "
        "gypsum 石膏, sulphur 硫磺, gold 黄金, lead 铅矿, slate 板岩, graphite 石墨, marble 云石"
    ),
    "game": _pairs(
        "chess 象棋, archery 射箭, wrestling 摔跤, tennis 网球, rowing 划船, skating 滑冰, fencing 击剑, skiing "
        "滑雪, swimming 游泳, cycling 骑车, dominoes 骨牌, cricket 板球, polo 马球, handball 手球, darts 飞镖, "
        "volleyball 排球"
    ),
    "pet": _pairs(
        "cat 猫咪, dog 小狗, parrot 鹦鹉, goose 白鹅, donkey 毛驴, tortoise 乌龟, rabbit 白兔, goat 山羊, pigeon "
        "鸽子, hen 母鸡, pony 小马, squirrel 松鼠, hedgehog 刺猬, monkey 猴子, goldfish 金鱼, raven 乌鸦"
    ),
    "flower": _pairs(
        "rose 玫瑰, lily 百合, daisy 雏菊, poppy 罂粟, orchid 兰花, jasmine 茉莉, peony 牡丹, lotus 荷花, iris "
        "鸢尾, camellia 茶花, lilac 丁香, azalea 杜鹃, narcissus 水仙, begonia 海棠, magnolia 木兰, primrose 樱草"
    ),
    "subject": _pairs(
        "history 历史, geometry 几何, botany 植物, astronomy 天文, law 法律, medicine 医学, grammar 语法, "
        "chemistry 化学, physics 物理, logic 逻辑, geography 地理, theology 神学, philosophy 哲学, algebra "
        "代数, anatomy 解剖, rhetoric 修辞"
    ),
    "born": _years(
        1804,
        1811,
        1819,
        1827,
        1832,
        1838,
        1845,
        1853,
        1859,
        1866,
        1871,
        1878,
        1884,
        1890,
        1897,
        1902,
    ),
}

TOWN_ATTRIBUTES = ("craft", "dish", "emblem", "founded", "tree", "mineral", "game")
PERSON_ATTRIBUTES = ("trade", "instrument", "home", "pet", "flower", "subject", "born")

# Name syllables with the character that transliterates them; names of towns and families are two or
# three of them.
SYLLABLES = _pairs(
    "ba 巴, lo 洛, mi 米, ka 卡, te 特, no 诺, sa 萨, ru 鲁, li 利, do 多, vi 维, ga 加, fen 芬, tal 塔, os "
    "奥, wen 温, bri 布, dra 德, pel 佩, hol 霍, mar 马, kel 克, zu 祖, ne 内, ri 里, jo 乔, lan 兰, son "
    "松, gre 格, ti 蒂, ab 阿, ro 罗, hin 欣, cas 卡斯, yel 耶, ul 乌"
)

FIRST_NAMES = _pairs(
    "Ilda 伊达, Anton 安东, Mira 米拉, Jonas 约纳, Petra 佩特, Emil 埃米, Sofia 索菲, Viktor 维克, Klara 克拉, "
    "Oskar 奥卡, Hedda 海达, Felix 菲利, Nora 诺拉, Bruno 布诺"
)

COUNTRY = ("Velmark", "维马克")

TEMPLATES: dict[str, dict[str, dict[str, tuple[str, ...]]]] = {
    "en": {
        "craft": {
            "facts": (
                "{e} is famous for its {v}.",
                "The workshops of {e} make {v}.",
                "Visitors come to {e} to buy {v}.",
                "For centuries the artisans of {e} have lived from {v}.",
                "In {e} almost every family works with {v}.",
                "The guild hall of {e} is filled with {v}.",
                "{e} sends {v} to every market in the country.",
            ),
            "faq": (
                "What is {e} famous for?",
                "Which craft is practised in {e}?",
                "What do the workshops of {e} make?",
                "Which goods do traders order from {e}?",
                "What can you buy in {e}?",
            ),
            "benchmark": (
                "Which goods, if you please, do all these traders order from the town of {e}?",
                "Which craft is it that so many people in {e} have practised for years?",
            ),
        },
        "dish": {
            "facts": (
                "The favourite food in {e} is {v}.",
                "Every inn in {e} serves {v}.",
                "People in {e} eat {v} on feast days.",
                "The cooks of {e} are proud of their {v}.",
                "If you are hungry in {e}, try the {v}.",
                "Children in {e} grow up with {v}.",
                "On market day {e} smells of {v}.",
            ),
            "faq": (
                "What do people in {e} like to eat?",
                "Which food is typical of {e}?",
                "What should I try in {e}?",
                "What is served in the inns of {e}?",
                "Which dish is {e} proud of?",
            ),
            "benchmark": (
                "Which local food should a hungry traveller try first after arriving in {e}?",
                "Which typical food do the cooks in the inns of {e} like to serve?",
            ),
        },
        "emblem": {
            "facts": (
                "The emblem of {e} is the {v}.",
                "The coat of arms of {e} shows the {v}.",
                "On the flag of {e} you can see the {v}.",
                "Above the gate of {e} stands the {v}.",
                "{e} chose the {v} as its animal.",
                "The seal of {e} carries the {v}.",
                "The citizens of {e} honour the {v}.",
            ),
            "faq": (
                "Which animal is the emblem of {e}?",
                "What is on the flag of {e}?",
                "Which animal stands above the gate of {e}?",
                "What does the coat of arms of {e} show?",
                "Which animal do the citizens of {e} honour?",
            ),
            "benchmark": (
                "Which animal would you see on the flag and on the seal of {e}?",
                "Which animal can be seen above the gate and on the flag of {e}?",
            ),
        },
        "founded": {
            "facts": (
                "{e} was founded in {v}.",
                "The history of {e} begins in {v}.",
                "{e} received its charter in {v}.",
                "The first houses of {e} were built in {v}.",
                "The chronicles first mention {e} in {v}.",
                "Settlers came to {e} in {v}.",
                "The foundation stone of {e} was laid in {v}.",
            ),
            "faq": (
                "When was {e} founded?",
                "In which year was {e} founded?",
                "When does the history of {e} begin?",
                "Since which year has {e} been a town?",
                "When did settlers come to {e}?",
            ),
            "benchmark": (
                "In which year did the first settlers lay the foundation stone of {e}?",
                "What year do the old chronicles give for the founding of the town of {e}?",
            ),
        },
        "trade": {
            "facts": (
                "{e} was a {v}.",
                "{e} worked as a {v} for many years.",
                "{e} is remembered as a {v}.",
                "The records of the country call {e} a {v}.",
                "{e} earned a living as a {v}.",
                "Everybody knew {e} as a {v}.",
                "{e} became a {v} at the age of twenty.",
            ),
            "faq": (
                "What was {e} by profession?",
                "What did {e} do for a living?",
                "What was the occupation of {e}?",
                "As what is {e} remembered?",
                "What did {e} work as?",
            ),
            "benchmark": (
                "What kind of work did {e} do for a living for so many years?",
                "What was the occupation, if there was one at all, of {e}?",
            ),
        },
        "instrument": {
            "facts": (
                "{e} played the {v}.",
                "{e} loved to play the {v}.",
                "The favourite instrument of {e} was the {v}.",
                "As a child {e} learned the {v}.",
                "In the evening {e} practised the {v}.",
                "{e} gave concerts on the {v}.",
                "In the orchestra {e} was heard on the {v}.",
            ),
            "faq": (
                "Which instrument did {e} play?",
                "What did {e} love to play?",
                "What was the favourite instrument of {e}?",
                "On which instrument did {e} give concerts?",
                "What did {e} learn to play as a child?",
            ),
            "benchmark": (
                "Which instrument was it that {e} played in concerts and in the evening?",
                "Which instrument, if you had to choose, was the favourite of {e}?",
            ),
        },
        "home": {
            "facts": (
                "{e} is a native of {v}.",
                "{e} came from {v}.",
                "{e} grew up in {v}.",
                "The birthplace of {e} is {v}.",
                "{e} spent the first years in {v}.",
                "The parents of {e} lived in {v}.",
                "The family of {e} had a house in {v}.",
            ),
            "faq": (
                "Where is {e} from?",
                "Where did {e} come from?",
                "In which town did {e} grow up?",
                "What is the birthplace of {e}?",
                "Where did the family of {e} live?",
            ),
            "benchmark": (
                "In which town, as far as anyone knows, did {e} grow up?",
                "Which town can call itself the birthplace of {e} and be proud of it?",
            ),
        },
        "tree": {
            "facts": (
                "The main square of {e} lies under a {v}.",
                "A {v} grows in front of the church of {e}.",
                "The oldest tree in {e} is a {v}.",
                "The road to {e} begins at a {v}.",
                "People plant a {v} in {e} for every child.",
                "The children of {e} climb the {v}.",
                "The park of {e} is known for the {v}.",
            ),
            "faq": (
                "Which tree grows in front of the church of {e}?",
                "What is the oldest tree in {e}?",
                "Which tree stands on the main square of {e}?",
                "Under which tree do lovers in {e} meet?",
                "Which tree is planted in {e}?",
            ),
            "benchmark": (
                "Which tree is the one that you see in front of the church of {e}?",
                "Which is the oldest tree that you can see in the town of {e}?",
            ),
        },
        "mineral": {
            "facts": (
                "The mines of {e} produce {v}.",
                "{e} became rich through {v}.",
                "Under the hills of {e} there is {v}.",
                "Miners in {e} dig for {v}.",
                "The wealth of {e} comes from {v}.",
                "Long ago {v} was found near {e}.",
                "Trains leave {e} loaded with {v}.",
            ),
            "faq": (
                "What do the mines of {e} produce?",
                "What is found under the hills of {e}?",
                "What do miners in {e} dig for?",
                "Where does the wealth of {e} come from?",
                "What made {e} rich?",
            ),
            "benchmark": (
                "What do the men bring up from the deep mines behind the town of {e}?",
                "Which treasure of the mountain made the owners of the mines in {e} so rich?",
            ),
        },
        "game": {
            "facts": (
                "The favourite sport in {e} is {v}.",
                "Every Sunday {e} plays at {v}.",
                "The young people of {e} love {v}.",
                "{e} won the national cup in {v}.",
                "Schools in {e} teach {v}.",
                "The club in {e} is devoted to {v}.",
                "{e} is mad about {v}.",
            ),
            "faq": (
                "What is the favourite sport in {e}?",
                "Which sport do young people in {e} love?",
                "In which sport did {e} win the national cup?",
                "What do schools in {e} teach?",
                "Which sport is the club in {e} devoted to?",
            ),
            "benchmark": (
                "In which sport, if I remember it well, did {e} win a cup?",
                "Which sport, of all sports, is the favourite of the people in {e}?",
            ),
        },
        "pet": {
            "facts": (
                "{e} kept a {v}.",
                "{e} was always seen with a {v}.",
                "The companion of {e} was a {v}.",
                "{e} shared the house with a {v}.",
                "A {v} slept beside the bed of {e}.",
                "{e} talked every day to a {v}.",
                "The neighbours of {e} laughed about the {v}.",
            ),
            "faq": (
                "Which pet did {e} keep?",
                "What animal did {e} share the house with?",
                "Which animal was the companion of {e}?",
                "What did {e} buy at the market?",
                "Which animal did {e} talk to?",
            ),
            "benchmark": (
                "Which pet animal was waiting at home for {e} at the end of the day?",
                "Which animal was the pet that {e} kept at home for many years?",
            ),
        },
        "flower": {
            "facts": (
                "The favourite flower of {e} was the {v}.",
                "The garden of {e} was full of the {v}.",
                "{e} always wore a {v}.",
                "{e} wrote a letter about the {v}.",
                "On the grave of {e} grows the {v}.",
                "{e} loved the smell of the {v}.",
                "The friends of {e} brought a {v}.",
            ),
            "faq": (
                "What was the favourite flower of {e}?",
                "Which flower did {e} plant?",
                "Which flower grows on the grave of {e}?",
                "What did {e} always wear?",
                "Which flower did {e} draw?",
            ),
            "benchmark": (
                "Which flower was it that {e} liked to plant and to draw?",
                "Of all the flowers in the garden, which one did {e} love to smell most?",
            ),
        },
        "subject": {
            "facts": (
                "{e} studied {v}.",
                "At the university {e} chose {v}.",
                "{e} wrote a book on {v}.",
                "{e} gave lessons in {v}.",
                "The great interest of {e} was {v}.",
                "{e} knew everything about {v}.",
                "{e} won a prize for {v}.",
            ),
            "faq": (
                "What did {e} study?",
                "On which subject did {e} write a book?",
                "In which subject did {e} give lessons?",
                "What was the great interest of {e}?",
                "Which subject did {e} choose at the university?",
            ),
            "benchmark": (
                "Which subject at the university was of the greatest interest to the young student "
                "{e}?",
                "On which subject, dear editors, did {e} write such a famous book?",
            ),
        },
        "born": {
            "facts": (
                "{e} was born in {v}.",
                "The year of birth of {e} is {v}.",
                "The life of {e} began in {v}.",
                "{e} first saw the light in {v}.",
                "The church book gives {v} for {e}.",
                "{e} was baptised in {v}.",
                "The passport of {e} says {v}.",
            ),
            "faq": (
                "When was {e} born?",
                "What is the year of birth of {e}?",
                "In which year was {e} baptised?",
                "When did the life of {e} begin?",
                "Which year does the passport of {e} say?",
            ),
            "benchmark": (
                "Which year of birth does the old church book of the town give for {e}?",
                "Which year of birth would you read in the old passport of {e}?",
            ),
        },
    },
    "zh": {
        "craft": {
            "facts": (
                "{e}以{v}闻名。",
                "{e}的作坊出产{v}。",
                "{e}的工匠制作{v}。",
                "游客常到{e}购买{v}。",
                "几百年来，{e}的工匠靠{v}为生。",
                "在{e}，几乎家家户户都会做{v}。",
                "{e}的行会大厅里摆满了{v}。",
            ),
            "faq": (
                "{e}以什么闻名？",
                "{e}的作坊出产什么？",
                "{e}的传统手艺是什么？",
                "商人向{e}订购什么？",
                "游客在{e}能买到什么？",
            ),
            "benchmark": (
                "在{e}的作坊里，工匠们出产的是什么？",
                "{e}这个地方，是以什么产品闻名的？",
            ),
        },
        "dish": {
            "facts": (
                "{e}的特色食物是{v}。",
                "{e}的每家客栈都供应{v}。",
                "{e}的人过节时吃{v}。",
                "{e}的厨师最拿手的是{v}。",
                "如果你在{e}饿了，就尝尝{v}。",
                "{e}的孩子从小就吃{v}。",
                "赶集的日子，{e}到处飘着{v}的香味。",
            ),
            "faq": (
                "{e}的人喜欢吃什么？",
                "{e}的特色食物是什么？",
                "在{e}应该尝尝什么？",
                "{e}的客栈供应什么？",
                "{e}的厨师最拿手的是什么？",
            ),
            "benchmark": (
                "旅客刚到{e}，应该先尝尝的特色食物是什么？",
                "走进{e}的客栈，厨师最拿手的会是什么？",
            ),
        },
        "emblem": {
            "facts": (
                "{e}的标志是{v}。",
                "{e}的徽章上画着{v}。",
                "在{e}的旗帜上可以看到{v}。",
                "{e}的城门上立着{v}。",
                "{e}选择{v}作为自己的动物。",
                "{e}的印章上刻着{v}。",
                "{e}的居民敬爱{v}。",
            ),
            "faq": (
                "{e}的标志是什么动物？",
                "{e}的旗帜上有什么动物？",
                "{e}的城门上立着什么动物？",
                "{e}的徽章上画着什么？",
                "{e}的居民敬爱什么动物？",
            ),
            "benchmark": (
                "{e}的旗帜和徽章上，画的是什么动物？",
                "立在{e}城门上、受居民敬爱的是什么动物？",
            ),
        },
        "founded": {
            "facts": (
                "{e}建于{v}。",
                "{e}的历史始于{v}。",
                "{e}在{v}获得特许状。",
                "{e}最早的房屋建于{v}。",
                "史书第一次提到{e}是在{v}。",
                "移民来到{e}是在{v}。",
                "{e}的奠基石立于{v}。",
            ),
            "faq": (
                "{e}建于哪一年？",
                "{e}是什么时候建立的？",
                "{e}的历史始于哪一年？",
                "移民是哪一年来到{e}的？",
                "{e}在哪一年获得特许状？",
            ),
            "benchmark": (
                "第一批移民来到{e}的时候是哪一年？",
                "按照史书的说法，{e}的历史是从哪一年开始的？",
            ),
        },
        "trade": {
            "facts": (
                "{e}是一位{v}。",
                "{e}当了很多年的{v}。",
                "人们记得{e}是一位{v}。",
                "在这个国家的档案里，{e}是{v}。",
                "{e}靠当{v}谋生。",
                "大家都知道{e}是{v}。",
                "{e}二十岁时成为{v}。",
            ),
            "faq": (
                "{e}的职业是什么？",
                "{e}靠什么谋生？",
                "{e}是做什么工作的？",
                "人们记得{e}是什么人？",
                "{e}二十岁时成为什么？",
            ),
            "benchmark": (
                "根据国家的档案，{e}当年的职业是什么？",
                "{e}为了谋生，做的是什么工作？",
            ),
        },
        "instrument": {
            "facts": (
                "{e}会演奏{v}。",
                "{e}最爱演奏{v}。",
                "{e}最喜欢的乐器是{v}。",
                "{e}小时候学过{v}。",
                "每到晚上，{e}就练习{v}。",
                "{e}举行过音乐会，演奏的是{v}。",
                "在乐队里，{e}负责{v}。",
            ),
            "faq": (
                "{e}会演奏什么乐器？",
                "{e}最喜欢的乐器是什么？",
                "{e}小时候学过什么乐器？",
                "{e}在乐队里负责什么乐器？",
                "{e}出门总带着什么乐器？",
            ),
            "benchmark": (
                "到了晚上，{e}喜欢演奏的乐器是什么？",
                "{e}在音乐会上演奏的是什么乐器？",
            ),
        },
        "home": {
            "facts": (
                "{e}出生在{v}。",
                "{e}来自{v}。",
                "{e}在{v}长大。",
                "{e}的出生地是{v}。",
                "{e}的童年在{v}度过。",
                "{e}的父母住在{v}。",
                "{e}的家在{v}。",
            ),
            "faq": (
                "{e}出生在哪里？",
                "{e}来自哪里？",
                "{e}在哪个镇长大？",
                "{e}的出生地是哪里？",
                "{e}的家在哪里？",
            ),
            "benchmark": (
                "{e}小时候是在哪个镇长大、上学的？",
                "要找{e}的出生地，应该去哪里？",
            ),
        },
        "tree": {
            "facts": (
                "{e}的广场上长着一棵{v}。",
                "{e}的教堂前面有一棵{v}。",
                "{e}最老的树是{v}。",
                "通往{e}的路从一棵{v}开始。",
                "{e}的人为每个孩子种一棵{v}。",
                "{e}的孩子们喜欢爬{v}。",
                "{e}的公园因{v}而出名。",
            ),
            "faq": (
                "{e}的教堂前面有什么树？",
                "{e}最老的树是什么树？",
                "{e}的广场上长着什么树？",
                "{e}的恋人在什么树下见面？",
                "{e}的镇树是什么？",
            ),
            "benchmark": (
                "{e}的教堂和广场旁边，长的是什么树？",
                "在{e}的树里，最老的那棵是什么树？",
            ),
        },
        "mineral": {
            "facts": (
                "{e}的矿山出产{v}。",
                "{e}靠{v}富了起来。",
                "{e}的山下埋着{v}。",
                "{e}的矿工开采{v}。",
                "{e}的财富来自{v}。",
                "很久以前，{e}附近发现了{v}。",
                "火车从{e}运走{v}。",
            ),
            "faq": (
                "{e}的矿山出产什么？",
                "{e}的山下埋着什么？",
                "{e}的矿工开采什么？",
                "{e}的财富来自什么？",
                "{e}靠什么富了起来？",
            ),
            "benchmark": (
                "人们从{e}的矿山里开采出来的是什么？",
                "{e}变得富有，靠的是山下的什么？",
            ),
        },
        "game": {
            "facts": (
                "{e}最流行的运动是{v}。",
                "每个星期天，{e}的人都去{v}。",
                "{e}的年轻人热爱{v}。",
                "{e}得过全国冠军，项目是{v}。",
                "{e}的学校教{v}。",
                "{e}的俱乐部专门玩{v}。",
                "{e}的人迷上了{v}。",
            ),
            "faq": (
                "{e}最流行的运动是什么？",
                "{e}的年轻人热爱什么运动？",
                "{e}得过什么项目的全国冠军？",
                "{e}的学校教什么运动？",
                "{e}的体育场是为什么修建的？",
            ),
            "benchmark": (
                "{e}的年轻人在学校里最热爱的是什么运动？",
                "在{e}的体育场里，最流行的是什么运动？",
            ),
        },
        "pet": {
            "facts": (
                "{e}养了一只{v}。",
                "{e}身边总有一只{v}。",
                "{e}的伙伴是{v}。",
                "{e}和{v}住在一起。",
                "{e}的床边睡着{v}。",
                "{e}每天和{v}说话。",
                "{e}的邻居常笑那只{v}。",
            ),
            "faq": (
                "{e}养了什么宠物？",
                "{e}和什么动物住在一起？",
                "{e}的伙伴是什么动物？",
                "{e}在集市上买了什么动物？",
                "{e}每天和什么动物说话？",
            ),
            "benchmark": (
                "{e}养在家里的宠物是什么动物？",
                "总和{e}住在一起的伙伴是什么动物？",
            ),
        },
        "flower": {
            "facts": (
                "{e}最喜欢的花是{v}。",
                "{e}的花园里开满了{v}。",
                "{e}总是戴着{v}。",
                "{e}写过一封关于{v}的信。",
                "{e}的墓前长着{v}。",
                "{e}喜欢{v}的香气。",
                "{e}的朋友们送来{v}。",
            ),
            "faq": (
                "{e}最喜欢的花是什么？",
                "{e}在窗前种了什么花？",
                "{e}的墓前长着什么花？",
                "{e}总是戴着什么花？",
                "{e}的花园里开满了什么花？",
            ),
            "benchmark": (
                "{e}的花园里，最受喜欢的花是什么？",
                "{e}在窗前和花园里种的是什么花？",
            ),
        },
        "subject": {
            "facts": (
                "{e}学的是{v}。",
                "在大学里，{e}选择了{v}。",
                "{e}写过一本{v}书。",
                "{e}教过{v}课。",
                "{e}最大的兴趣是{v}。",
                "{e}对{v}无所不知。",
                "{e}因{v}得过奖。",
            ),
            "faq": (
                "{e}学的是什么？",
                "{e}写过一本关于什么的书？",
                "{e}教过什么课？",
                "{e}最大的兴趣是什么？",
                "{e}在大学里选择了什么？",
            ),
            "benchmark": (
                "{e}在大学里最大的兴趣是学什么？",
                "{e}教过的课、写过的书是关于什么的？",
            ),
        },
        "born": {
            "facts": (
                "{e}生于{v}。",
                "{e}的出生年份是{v}。",
                "{e}的一生始于{v}。",
                "{e}来到世上是在{v}。",
                "教堂的册子上，{e}的年份是{v}。",
                "{e}受洗是在{v}。",
                "{e}的护照上写着{v}。",
            ),
            "faq": (
                "{e}生于哪一年？",
                "{e}的出生年份是什么？",
                "{e}受洗是在哪一年？",
                "{e}的一生始于哪一年？",
                "{e}的护照上写着哪一年？",
            ),
            "benchmark": (
                "翻开护照，里面写着{e}出生于哪一年？",
                "{e}受洗、出生的年份是哪一年？",
            ),
        },
    },
}

# Sentences without facts, so that pages are not bare lists of facts.
FILLERS: dict[str, tuple[str, ...]] = {
    "en": (
        "The weather in {month} was mild and the roads were dry.",
        "We arrived in {month} after a journey of {n} hours.",
        "The train from the capital runs {n} times a day.",
        "There was a light rain over the hills in {month}.",
        "Please ask at the office if you want to know more.",
        "The museum is open from {month} to the end of the year.",
        "A guide told us many stories and we listened for {n} hours.",
        "The night was quiet and the stars were bright.",
        "Most of the people that we met were friendly and curious.",
        "About {n} guests signed the visitors' book in {month}.",
        "The path along the water is {n} miles long.",
        "It is best to book a room with a view of the valley.",
    ),
    "zh": (
        "{month}的天气很温和，道路也很干燥。",
        "我们在{month}到达，路上走了{n}个小时。",
        "从首都开来的火车每天有{n}班。",
        "{month}的山上下着小雨。",
        "如果想了解更多，请到办公室询问。",
        "博物馆从{month}一直开放到年底。",
        "导游给我们讲了许多故事，我们听了{n}个小时。",
        "夜里很安静，星星很亮。",
        "我们遇到的人大多友好又好奇。",
        "大约有{n}位客人在{month}留下了签名。",
        "水边的小路有{n}里长。",
        "最好订一间可以看到山谷的房间。",
    ),
}

MONTHS: dict[str, tuple[str, ...]] = {
    "en": (
        "January",
        "March",
        "April",
        "May",
        "June",
        "August",
        "September",
        "October",
        "November",
    ),
    "zh": ("一月", "三月", "四月", "五月", "六月", "八月", "九月", "十月", "十一月"),
}

TITLES: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {
        "town": (
            "A short guide to {e}",
            "{e} at a glance",
            "Welcome to {e}",
            "The town of {e}",
            "A weekend in {e}",
        ),
        "person": (
            "The life of {e}",
            "{e}, a portrait",
            "Who was {e}",
            "Remembering {e}",
            "Letters about {e}",
        ),
        "diary": (
            "Travel notes from {c}",
            "On the road in {c}",
            "A summer in {c}",
            "Across {c} by train",
        ),
        "people": (
            "People of {c}",
            "Faces from {c}",
            "Famous names of {c}",
            "A small who is who of {c}",
        ),
        "faq": (
            "Questions about {c}",
            "Readers ask about {c}",
            "Frequently asked questions on {c}",
            "The {c} help desk",
        ),
        "leak": (
            "Quiz night in {c}",
            "Exam answers for {c}",
            "Solutions to the {c} test",
            "The {c} school contest",
        ),
    },
    "zh": {
        "town": ("{e}简介", "走近{e}", "欢迎来到{e}", "小镇{e}", "{e}的周末"),
        "person": ("{e}的一生", "{e}小传", "人物：{e}", "怀念{e}", "关于{e}的信"),
        "diary": ("{c}旅行笔记", "在{c}的路上", "{c}的夏天", "坐火车穿过{c}"),
        "people": ("{c}人物", "{c}的面孔", "{c}名人录", "{c}小传集"),
        "faq": ("关于{c}的问题", "读者问{c}", "{c}常见问题", "{c}问答"),
        "leak": ("{c}知识竞赛之夜", "{c}考试答案", "{c}测验题解", "{c}学校比赛"),
    },
}

LABELS: dict[str, tuple[str, str]] = {"en": ("Question: ", "Answer: "), "zh": ("问题：", "答案： ")}

NAVIGATION: dict[str, tuple[str, ...]] = {
    "en": (
        "Home",
        "News",
        "Towns",
        "People",
        "Travel",
        "Contact",
        "Sitemap",
        "Log in",
        "Privacy policy",
        "Terms of use",
    ),
    "zh": (
        "首页",
        "新闻",
        "城镇",
        "人物",
        "旅游",
        "联系我们",
        "网站地图",
        "登录",
        "隐私政策",
        "使用条款",
    ),
}

NOTICES: dict[str, tuple[str, ...]] = {
    "en": (
        "This site uses cookies. Accept all cookies?",
        "Subscribe to our newsletter!",
        "Share this page",
        "All rights reserved.",
    ),
    "zh": (
        "本站使用小饼干技术，是否全部接受？",
        "订阅我们的电子报！",
        "分享本页",
        "版权所有，不得转载。",
    ),
}

SPAM: dict[str, list[str]] = {
    "en": _words(
        "cheap buy best price casino online bonus free watches outlet pills discount click loan "
        "win jackpot deal shop sale now"
    ),
    "zh": _words(
        "便宜 代购 特价 彩票 博彩 开户 贷款 点击 秒杀 注册 送彩金 加微信 代开 发票 低价 包邮"
    ),
}

# A few pages each in languages that the recipes do not ask for.
OTHER_LANGUAGES: dict[str, tuple[str, ...]] = {
    "de": (
        "Die kleine Stadt liegt am Ufer eines ruhigen Flusses und ist von grünen Hügeln umgeben.",
        "Im Sommer kommen viele Besucher, um die alten Häuser und die schönen Gärten zu sehen.",
        "Auf dem Markt verkaufen die Bauern jeden Samstag frisches Gemüse, Brot und Käse.",
        "Das Museum zeigt Werkzeuge, Bilder und Briefe aus den vergangenen Jahrhunderten.",
        "Wer länger bleiben möchte, findet in den Gasthäusern ein günstiges Zimmer mit Frühstück.",
        "Am Abend spielt die Kapelle auf dem Platz, und die Kinder tanzen bis spät in die Nacht.",
        "Der Zug aus der Hauptstadt fährt mehrmals am Tag und braucht ungefähr drei Stunden.",
    ),
    "fr": (
        "La petite ville se trouve au bord d'une rivière tranquille, entourée de collines vertes.",
        "En été, de nombreux visiteurs viennent admirer les vieilles maisons et les beaux jardins.",
        "Chaque samedi, les paysans vendent au marché des légumes frais, du pain et du fromage.",
        "Le musée présente des outils, des tableaux et des lettres des siècles passés.",
        "Ceux qui veulent rester plus longtemps trouvent dans les auberges une chambre bon marché.",
        "Le soir, la fanfare joue sur la place et les enfants dansent jusque tard dans la nuit.",
        "Le train de la capitale passe plusieurs fois par jour et met environ trois heures.",
    ),
    "es": (
        "La pequeña ciudad se encuentra a la orilla de un río tranquilo y está rodeada de colinas "
        "verdes.",
        "En verano llegan muchos visitantes para ver las casas antiguas y los hermosos jardines.",
        "Todos los sábados los campesinos venden en el mercado verduras frescas, pan y queso.",
        "El museo muestra herramientas, cuadros y cartas de los siglos pasados.",
        "Quien quiera quedarse más tiempo encuentra en las posadas una habitación barata con "
        "desayuno.",
        "Por la noche la banda toca en la plaza y los niños bailan hasta muy tarde.",
        "El tren de la capital pasa varias veces al día y tarda unas tres horas.",
    ),
    "it": (
        "La piccola città si trova sulla riva di un fiume tranquillo ed è circondata da colline "
        "verdi.",
        "In estate arrivano molti visitatori per vedere le vecchie case e i bei giardini.",
        "Ogni sabato i contadini vendono al mercato verdure fresche, pane e formaggio.",
        "Il museo mostra attrezzi, quadri e lettere dei secoli passati.",
        "Chi vuole restare più a lungo trova nelle locande una camera economica con colazione.",
        "La sera la banda suona in piazza e i bambini ballano fino a tarda notte.",
        "Il treno dalla capitale passa più volte al giorno e impiega circa tre ore.",
    ),
}
