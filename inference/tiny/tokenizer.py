"""What tiny checkpoints read and say: their words, special tokens and chat templates."""

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

# What the models can say, besides "," and ".": words of captions and of the prompts. Any other word
# is spelt out in its bytes, and the longer a prompt, the less the frames weigh in it.
WORDS = """
a above add after again air all along an and another answer appears around as at away back ball be
beach before begins behind below bench bird black blue boat both bridge bright brown building by
camera can caption captions car cat child city clip clips close cloud color connects cup cuts dark
day describe description detail detailed dog door down each ends enters events everything face
falls far field fire first floor follow follows forest from garden glass grass gray green ground
hand happens has have her his holds house how in into is it its kitchen lake lamp large last
leaves left light line long looks man moment moves near new next night not occur of off on one
only opens orange order other out over pan paragraph park path people picks place plate pours puts
rain red report river road rolls room round runs say scene sea second see seen show shows side sky
slowly small snow speak stands stays step steps stone stops street sun table take takes tells that
the their then there three through to tree turns two under until up video view walks wall water
what when where which while white who whole wind window with woman wood write yellow young
"""

# Qwen2-VL's special tokens, in the order of their ids, and the first of these.
_QWEN_NAMES = """
endoftext im_start im_end object_ref_start object_ref_end box_start box_end quad_start quad_end
vision_start vision_end vision_pad image_pad video_pad
"""
QWEN_SPECIAL = tuple(f"<|{name}|>" for name in _QWEN_NAMES.split())
# ms-swift writes <|image_pad|> and <|video_pad|> as 151655 and 151656, whatever the tokenizer says.
QWEN_FIRST_SPECIAL = 151643
SMOLVLM_SPECIAL = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    *("<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"),
)
LLAVA_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>")

# How the released tokenizer cuts text before it looks for merges (Qwen2's regular expression).
QWEN_PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# Qwen2-VL's chat template without the system turn that it puts in front where there is none.
QWEN_TURNS = """
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\n' -}}
{%- if message.content is string -%}
{{- message.content -}}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type in ('image', 'video') -%}
{{- '<|vision_start|><|' + part.type + '_pad|><|vision_end|>' -}}
{%- elif part.type == 'text' -%}
{{- part.text -}}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\n' -}}
{%- endif -%}
"""
QWEN_TEMPLATE = (
    """
{%- if messages[0].role != 'system' -%}
{{- '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' -}}
{%- endif -%}"""
    + QWEN_TURNS
)

# The released template, which puts a part where it stands.
SMOLVLM_TEMPLATE = """<|im_start|>
{%- for message in messages -%}
{{- message.role | capitalize + ': ' -}}
{%- for part in message.content -%}
{{- part.text if part.type == 'text' else '<' + part.type + '>' -}}
{%- endfor -%}
{{- '<end_of_utterance>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- 'Assistant:' -}}
{%- endif -%}
"""

# The released template names the role without a line break, and all pictures before all text.
LLAVA_TEMPLATE = """
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + ' ' -}}
{%- if message.content is string -%}
{{- '\n' + message.content -}}
{%- else -%}
{%- for part in message.content if part.type in ('image', 'video') -%}
{{- '<' + part.type + '>' -}}
{%- endfor -%}
{%- for part in message.content if part.type == 'text' -%}
{{- '\n' + part.text -}}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\n' -}}
{%- endif -%}
"""


def build_tokenizer(special: tuple[str, ...], first_special: int | None = None) -> Tokenizer:
    """A byte-level BPE tokenizer in which " word" is one token for each of WORDS.

    Args:
        special: the special tokens; their ids follow one another.
        first_special: the id of the first of them; None: the first free one. Ids left over below it
            are held by tokens that no text becomes: where nobody holds an id, the library prints
            all such ids each time a tokenizer is saved.
    """
    ids = {byte: number for number, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges = []
    for word in WORDS.split():
        for end in range(1, len(word) + 1):
            longer = f"Ġ{word[:end]}"
            if longer not in ids:
                ids[longer] = len(ids)
                merges.append((longer[:-1], longer[-1]))
    ids |= {f"<|unused_{free}|>": free for free in range(len(ids), first_special or len(ids))}
    ids |= {token: number for number, token in enumerate(special, len(ids))}
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in special]
    )
    return tokenizer
