"""Photos of 4096 x 4096 px of one colour in 12 bits of 4:4:4, which takes most memory."""

from __future__ import annotations

import base64
import zlib

_AVIF = (
    "eNpjYGCQSSupLEgsy0xjAAIQnZuZZpibmQjiv85NLUlkgADFjJScIiiboSAzuYQBDfAVZJbkglmMQCyXmZOfDOK4gPiM"
    "EFFGfiB9C4g1MjPz0uBqpYCcVCYoL7HMwNA5PycfbFdWZkFRAZD2zixIzgfSIpnFBakQ6wSgmEGgILMiE8Rg5uHhAVI8"
    "iWWGzo0BCSAh4eT8nKK85JwKBiYgZGsAColnFuTC/AR0GAsjUzMLkPkoNyWxRIiBiztG7////7cuKChkNBidYJSQ4+wR"
    "5jE4bNMEtCvm/OnEAyHsawzal8ZKqspGcXAkzXTyS2r1eGb2vVaSZ9MxaddDmw+Kfg07kTb32D772yq1ngUBemVHPzy6"
    "P/+kjqaBZqVFq6Tqmc+s4to+hyuPP/IMnlP/WudKdouO8OoEAZoaDgADLIuG"
)
_HEIC = (
    "eNrtVk+IJUcZ77ez4k4c3RUTMwfFWuOfDdl6+/rNm0l2oCE4CVlBownoZdxAverq18V0d9Wrqn4zbxFdLx5EkgWjxICH"
    "iB5EDx7MIaiw5BAhF72JCBI8KHjyqiyOv6ru92YSSA8Evb3mve6vvl/V11993+/7uqIo2szcXOdC8ghXKbO4ke97rhSO"
    "Rc11OU8L08qRltxF77g+pKUrg9TDn8hCcS884ce9hf6+b0TRxQTyQ1JW2XL2AxiIc+0on/EY0vpbUhuN5+tScwXF/dJq"
    "0bzrUvtf/wEm7/XOX4D8kr9Fv/pndO/43j285TyBsQcf7230jo/9hLUwYw1Tvv/i+mVgVz/X670duBNd6kUXou88++ab"
    "L770tT9c8trmdvuTWHDhid5duznYvPPZqLe++XTvfceL6yNXf/yX9VcffOrPv/7KT/7zzdfvPX003NkmV8a1LFIyjHce"
    "JpSM+sNHYipGo9Gjo9Hu/hdkVR/d3H9qb4/EgPrxzf2dERlLd5PEQzyw4kYfVq7dePKre4SrVHCo9pSeGznJHRkO4i2K"
    "22PkCn+YfLEunOTKiENmxFXy+cpPzp3Tu9eueV/6ykygUdpJVdldwnUt0yTGNdi6TjLDSkFdbgRLbRKTqi4Z1UoVfnCo"
    "NakU1SVcaITmYSvjn9bKkhRqQgsxE0VCY7+HVGiXJ/GQyErXjnKrky2SaZi7Frc6I2wyGlzfOfI36JwwBeMiGRCnHCto"
    "8MliGOxSmXLIObZOnRQGftV5SscplEZk3mdFWVGoQ1qpinJVZcqUrOLBVyO0YI7m2J4wlrCqEkfjsKJO/UOocfOw/pGb"
    "FP5kiuTM5t4fUWpl4FLB5lgOjdKiohOlSSkreiDm8B4etMJwe0CA0UKpA+ZfiQXjdjdbZExZyrTzOopUslKmLUrHknnj"
    "hp9auk2WMrWF5LDxGLFcVILX3oh3V1pHFypiWFo0eqv9fC/BK8MQhAwxzwl3dbI1DK7zmlp5SyTxThMl7kJQSmyMHVHX"
    "opgMMWSItoltFbC6UBSylA5L/AZSNW3ZMCDpvMIeOTUIQ38wWDAG4yDKSZXLhlfOHkgwzTSG/R5M89JmO0iphV5WIm1m"
    "EAxVNWn9sKVSLpfVJLheCjMRybD1Cju3jZFm7JlsSem5ZutxeGIBq7Bk+9GTdJezQPwmOWkdBnlD/kPha1CfiA2bKlbM"
    "bwlqkUJ0SEtSMUYXPEgGu83GmWofgaQtinjBUysKhF/OhIfhkGCmmNMQEhPuGUOam40vgkW9LsSmBmWsLYQNBB6fzPMk"
    "cCZtDaXgLSvcHPa1nfucDH1OGllNlxnCAsQMoQ4xW1jm46lWGUK5Q7hZioYn3GTQZCjn/oBMuSo1LO1A1NYJnYyQKeYs"
    "PTTShZiHkWkqAz2eoSclcX8ER8aLwdaAsGlIFLgFCbkW1QRMCy6C6EYIcktVAryoq7YSMAnfJcrHhkwnS+76/XA68dSB"
    "R2BHsnPdC7I6RSw6G8+IZZ5raoYi58yjM1BThUbiUIkNQ/B2VSijjSyRNoS5shk4OmzUmGnkkR/lRpUM+fU1gA8Xegc9"
    "lFWqDr2FAqVxdRBqsECv9QQEa4OIduiLfjKkXqUVuoEdo+hntUTnwwrPeDQnP0anagZtawhdED2eTjXV2i5GyCWYj00W"
    "IYYLqPTfDKqZtc0saBdtpO1F/cH2wgYolorCMZgOVPfJ8d+SUBSpiQdLwU/3g/RtI5ka32B8cEFrIUkoFis9EWorlv1i"
    "qbYMtfAuWKFY+g4MGSsECoI7ZZpvAui7bCUnQ3EKLWeIWCujK1LkCav9rk53C1+1PPS7TLV6dRiilqJftsuXruEg1XBE"
    "z30PwAt8Glnt2bhwL+4HM8vWuCw1i+xiFz48PppixhHoAMxCEDMpcJ5AcsM3xJdKRRtWxr4sltlj/hSATCWDUx/Cln7U"
    "161wloRjhP8OKedU6Wkq/CnDBN6hDkWzWRQGAoFcnNAlkIdblwXXxoaftEnDb/ujmZZH0p/G1jY2NvD4qETdtcdEHAbX"
    "eudw2rr4ZJkynCIvXr/S+8XlXnTAn7/yyrcvfGL+9x/Vf7zZ/Ka/+9j/6mc+88jx7/92zL7370+98OU3HipuhyPfu/w2"
    "blwcvPzaa11TovO/+fB3f/uPzilray8/sH+ne8q5v25e6p4RPX/7jAnRBzbPmvHTs2ycaeJLj5+xkec68fVu+33SCX/9"
    "bhfc+1YXuvZsF/r++7vQD97oQrsz9+m3utDdTvSZzmAXd987XX7Zif6pE/1XF9r7eBeYdIH7XeC0C+xKfO+FLvCHXeAr"
    "7xn82QpcgStwBa7AFbgCV+AKXIH/J/Dn/wXkKQio"
)


DEEP = {
    "AVIF": zlib.decompress(base64.b64decode(_AVIF)),
    "HEIC": zlib.decompress(base64.b64decode(_HEIC)),
}
