"""Whether a text declines to answer. Pure, and careful: what is wrongly taken for a refusal costs a second
answer, so only a short text counts that begins by saying so. One that says further on what it cannot do, or
at length, has something to say.
"""

import re
from typing import Final

LONGEST = 400  # characters of a refusal; what is longer explains or goes on

_BEGINNING: Final = re.compile(
    r"""
    \s*
    (?: (?: (?: i(?:[ ]am|'m)[ ](?:so[ ]|very[ ])?sorry | sorry | i[ ]apologi[sz]e | my[ ]apologies
          | unfortunately | as[ ]an[ ]ai(?:[ ](?:language[ ])?(?:model|assistant))? )
          [,.;!:]?[ ] (?:but[ ])? ){0,2}
        i(?:[ ]am|'m)?[ ]
        (?: (?: can't | cannot | can[ ]not | won't | will[ ]not )[ ](?:be[ ]able[ ]to[ ])?
          | (?: unable | not[ ]able )[ ]to[ ] )
        (?: help | assist | answer | provide | comply | fulfil | do[ ]that | discuss | support[ ]that
          | complete[ ](?:that|this|your) | process[ ](?:that|this|your) | respond )
      | (?: es[ ])?tut[ ]mir[ ]leid,?[ ](?:aber[ ])?(?: ich[ ]kann | dabei[ ]kann | das[ ]kann )
      | (?: leider[ ]kann[ ]ich | ich[ ]kann )[ ]
        (?:dir[ ]|ihnen[ ])?(?:dabei|damit|hierbei)[ ](?:leider[ ])?nicht
      | dabei[ ]kann[ ]ich[ ](?:dir[ ]|ihnen[ ])?(?:leider[ ])?nicht
      | je[ ]suis[ ](?:vraiment[ ])?désolée?,?[ ]mais[ ]je[ ]ne[ ]peux[ ]pas
      | lo[ ]siento,?[ ](?:pero[ ])?no[ ]puedo
      | (?: 很?抱歉 | 对不起 | 不好意思 )[,\uff0c\u3002]?[ ]?(?:但)?我?(?: 无法 | 不能 | 没有办法 | 没办法 )
      | 我(?: 无法 | 不能 )(?: 回答 | 提供 | 帮助 | 协助 | 满足 )
    )
    """,
    re.VERBOSE,
)


def is_refusal(text: str) -> bool:
    text = text.strip()
    return len(text) <= LONGEST and _BEGINNING.match(text.lower().replace("\u2019", "'")) is not None
