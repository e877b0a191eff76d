"""Code that type checkers refuse: each line that ends in ``# wrong``, and no other."""

from __future__ import annotations

from pydantic import BaseModel

from langchain_cerebras_demo import APIError, ChatCerebrasDemo
from langchain_cerebras_demo.records import CallRecord


class Person(BaseModel):
    name: str
    age: int


def weather(city: str) -> str:
    return f"sunny in {city}"


async def note(record: CallRecord) -> None:
    print(record.seconds)


llm = ChatCerebrasDemo()

# -- the constructor

ChatCerebrasDemo(timeout="5")  # wrong
ChatCerebrasDemo(rate_limit="fast")  # wrong
ChatCerebrasDemo(reasoning_effort="lots")  # wrong
ChatCerebrasDemo(reasoning_format="xml")  # wrong
ChatCerebrasDemo(service_tier="gold")  # wrong
ChatCerebrasDemo(tier="free")  # wrong
ChatCerebrasDemo(api_key=5)  # wrong
ChatCerebrasDemo(key_resolver=object())  # wrong
ChatCerebrasDemo(cookies={"session": 5})  # wrong
ChatCerebrasDemo(transport="https")  # wrong
ChatCerebrasDemo(on_call=note)  # wrong
ChatCerebrasDemo(proxy={"http": "http://127.0.0.1:1"})  # wrong
ChatCerebrasDemo(streaming="no")  # wrong
ChatCerebrasDemo(tool_choice="weather")  # wrong
ChatCerebrasDemo(stream_options={"include_usage": "yes"})  # wrong
ChatCerebrasDemo(temprature=0.5)  # wrong

# -- calls

llm.invoke("Hello", temprature=0.5)  # wrong
llm.invoke("Hello", reasoning_effort="lots")  # wrong
llm.stream("Hello", temperature="hot")  # wrong
llm.bind(max_tokens="5")  # wrong
llm.bind_tools([weather], seed="1")  # wrong
llm.bind_tools([5])  # wrong

# -- structured output and errors

print(llm.with_structured_output(Person).invoke("Ann, 41").surname)  # wrong
print(llm.with_structured_output(Person, include_raw=True).invoke("Ann, 41").name)  # wrong
llm.with_structured_output(Person, method="xml")  # wrong
llm.with_structured_output("Person")  # wrong
llm.with_structured_output(Person, temprature=0.5)  # wrong

try:
    llm.invoke("Hello")
except APIError as error:
    print(error.partial.text)  # wrong
